"""What ties a certificate to a model: it holds for these weights, this configuration and this operating point alone."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from eat.models.config import AdaptiveConfig

log = logging.getLogger(__name__)

NOT_COVERED = frozenset({"exit", "certificate"})
"""The operating point is compared by itself, and a certificate cannot name itself."""


def model_fingerprint(model: PreTrainedModel) -> str:
    """Return 16 hex digits that name weights and configuration: all that answers follow from, but the exit.

    Every key of `AdaptiveConfig` but those of `NOT_COVERED` counts, and the labels; of parameters and buffers their
    values and dtype, not their device or memory layout. MiniLM-L6's 91 MB take about a tenth of a second.
    """
    own = (key for key in AdaptiveConfig.__annotations__ if key not in NOT_COVERED)
    kept = {key: getattr(model.config, key) for key in (*own, "id2label", "problem_type")}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class CertifiedModel(PreTrainedModel):
    """A model that carries a certificate in its configuration and gives it up when it no longer holds.

    A certified model runs at the certified operating point. Where anything that answers follow from has changed, the
    certificate is withdrawn with a warning and the model runs at full depth, which needs no certificate. Checked when a
    model is loaded, and noticed at once when a part is replaced, weights are loaded or converted, or training begins,
    through this model or a module that holds it. What is done to its submodules (``encoder.load_state_dict``) or to
    tensors in place is found by `check_certificate`: when the model is saved and loaded, or put under a `DriftGuard`.
    """

    config: AdaptiveConfig

    def __init__(self, config: AdaptiveConfig) -> None:
        super().__init__(config)
        self.register_load_state_dict_post_hook(_weights_replaced)

    def set_exit(self, **spec: Any) -> None:
        """Choose an operating point."""
        raise NotImplementedError

    def check_certificate(self) -> None:
        """Compare the certificate with the model as it is; one that does not hold is withdrawn.

        An operating point that is not the certified one was somebody's choice: it stays, without the certificate.
        """
        certificate = self.config.certificate
        if certificate is None:
            return
        if certificate["exit"] != self.config.exit:
            log.info("exit %s is not the certified point %s: no certificate", self.config.exit, certificate["exit"])
            self.config.certificate = None
        elif certificate["model"] != model_fingerprint(self):
            self._withdraw_certificate("weights or configuration are not the certified ones")

    def _part_changed(self, key: str, before: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        """Follow a change of the configuration; a chosen operating point ends the certificate, but stays."""
        certificate = self.config.certificate
        if key != "exit" and spec != before:
            self._withdraw_certificate(f"{key} changed from {before} to {spec}")
        elif key == "exit" and certificate is not None and spec != certificate["exit"]:
            self.config.certificate = None

    def _withdraw_certificate(self, reason: str) -> None:
        if self.config.certificate is None:
            return
        log.warning(
            "the certificate of this model no longer holds: %s. It now runs at full depth (exit=never); certify it "
            "again (evaluate.py stages=[certify]), or choose an operating point without a guarantee (set_exit)",
            reason,
        )
        self.config.certificate = None
        self.set_exit(name="never")

    def train(self, mode: bool = True) -> CertifiedModel:
        """Go into training mode, where a certificate ends, or into evaluation mode."""
        if mode:
            self._withdraw_certificate("the model was put into training mode")
        super().train(mode)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> CertifiedModel:
        """Move or convert the tensors, as torch does for ``to`` and ``half``; another precision is another model."""
        before = self.dtype
        super()._apply(fn, recurse)
        if self.dtype != before:
            self._withdraw_certificate(f"weights went from {before} to {self.dtype}")
        return self


def _weights_replaced(model: CertifiedModel, _: Any) -> None:
    """Follow ``load_state_dict`` of the model, or of a module that holds it; not of its submodules alone."""
    model._withdraw_certificate("other weights were loaded")
