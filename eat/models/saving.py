"""Save and load as Hugging Face does, and compare what is loaded with what was saved."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from eat.models import certificate, integrity
from eat.models.binary import packed_state, unpacked_state
from eat.models.quantization import check_place
from eat.modules.linear import arrange_weights


class CheckedWeights(PreTrainedModel):
    """A model whose saved weights carry a fingerprint, which loading compares: see `eat.models.integrity`."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a saved model, as Hugging Face does, so that it answers bit for bit like the one that was saved.

        A certified model runs at its certified operating point. Where weights, pruning, attention or another part have
        changed since, the certificate is withdrawn with a warning, and the model runs at full depth; an exit that is
        asked for here (``exit=...``) is used as it is, without the certificate.

        Raises:
            ValueError: If weights are missing, not finite or not those that were saved with the configuration, or the
                certificate was edited: see `eat.models.integrity`.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        integrity.finish(model)
        check_place(model)
        arrange_weights(model)
        certificate.check(model)
        return loaded

    @staticmethod
    def _load_pretrained_model(
        model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Check the weights before they are loaded, at the one place where transformers knows their files."""
        integrity.check_saved(model, state_dict, checkpoint_files, load_config.ignore_mismatched_sizes)
        if model.config.weights is not None and state_dict is None:
            with integrity.tensors(None, checkpoint_files) as packed:
                state_dict, checkpoint_files = unpacked_state(model, packed), None
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, *args, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save as Hugging Face does, binary weights by their bits, with the fingerprint that loading compares.

        Raises:
            ValueError: If weights that the configuration calls binary are not.
        """
        given = args[2] if len(args) > 2 else kwargs.get("state_dict")
        if self.config.weights is not None:
            given = packed_state(self, self.state_dict() if given is None else given)
            if len(args) > 2:
                args = (*args[:2], given, *args[3:])
            else:
                kwargs["state_dict"] = given
        with integrity.fingerprinted(self, given):
            super().save_pretrained(*args, **kwargs)
