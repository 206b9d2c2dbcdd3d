"""Compare what is loaded with what was saved: a model that would answer otherwise in silence is refused.

A saved model's ``config.json`` carries a fingerprint of its tensors and of the facts that they were trained with. It is
written by ``save_pretrained`` and compared by ``from_pretrained`` with what lies on disk, whatever it is cast to then.
It is no signature: it finds a damaged, swapped or edited file, but whoever writes the file can write the fingerprint.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from eat.checks import shown
from eat.models.binary import packed_shapes
from eat.models.fingerprint import raw_facts, tensors_digest
from eat.models.granted import check_intact, encode, with_digest
from eat.ops.finite import first_not_finite

log = logging.getLogger(__name__)

NAMES_SHOWN = 3


@contextmanager
def fingerprinted(model: PreTrainedModel, state_dict: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Put into a model's configuration, while it is saved, what loading compares; ``state_dict`` are other weights.

    Without a fingerprint stay weights of which some are not in memory.
    """
    config, weights = model.config, model.state_dict() if state_dict is None else state_dict
    certificate = config.certificate
    if not any(tensor.is_meta for tensor in weights.values()):
        config.fingerprint = {"weights": tensors_digest(weights), "shape": _shape_digest(config)}
    if certificate is not None:
        config.certificate = with_digest(certificate)
    try:
        yield
    finally:
        config.fingerprint, config.certificate = None, certificate


def check_saved(
    model: PreTrainedModel,
    state_dict: Mapping[str, Tensor] | None,
    files: Sequence[str] | None,
    ignore_mismatched_sizes: bool,
) -> None:
    """Check the tensors that a new model is about to get: complete, finite, and those that were saved with its config.

    ``state_dict`` are tensors that a caller gives; else ``files`` hold them. With ``ignore_mismatched_sizes`` those of
    another shape are left to Hugging Face, which makes them random with a warning.

    Raises:
        ValueError: If a tensor is missing, of another shape, unknown to the model or not finite, or if the fingerprint
            is not that of the tensors, or of the backbone and heads in ``config.json``.
    """
    config, where = model.config, model.config.name_or_path or "the weights"
    saved, config.fingerprint = config.fingerprint, None  # it is about the files, and not about what becomes of them
    with tensors(state_dict, files or ()) as weights:
        found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        expected = (
            {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
            if state_dict is not None
            else packed_shapes(model)
        )
        if saved is not None and state_dict is None:
            _check_shape(config, saved, where)
            if config.certificate is not None:
                check_intact(config.certificate, f"{where}: config.certificate", digest_expected=True)
        _check_names(expected, found, where, ignore_mismatched_sizes)
        name = first_not_finite(weights)
        if name is not None:
            raise ValueError(
                f"{where}: expected finite weights, got NaN or infinity in {shown(name)}; take an earlier copy of the "
                "model, or train it again (with a smaller learning rate, if training did this)"
            )
        if state_dict is not None:
            return
        if saved is None:
            _say_unchecked(where)
        elif saved["weights"] != tensors_digest(weights):
            raise ValueError(
                f"{where}: the weights are not those that were saved with this config.json (their fingerprint "
                f"differs); take a whole copy of the model; {_ON_PURPOSE}"
            )


def finish(model: PreTrainedModel) -> None:
    """Say where transformers has loaded weights past `check_saved`, as it does from a distributed checkpoint."""
    if model.config.fingerprint is not None:
        model.config.fingerprint = None
        log.warning("%s: weights were loaded from no file that can be checked", model.config.name_or_path)


_ON_PURPOSE = (
    "if they were changed on purpose, remove 'fingerprint' from config.json and save the loaded model again "
    "(save_pretrained)"
)


def _check_shape(config: PreTrainedConfig, saved: Mapping[str, str], where: str) -> None:
    if saved["shape"] != _shape_digest(config):
        raise ValueError(
            f"{where}: 'backbone' or 'heads' in config.json are not those that the weights were saved with (their "
            f"fingerprint differs); take a whole copy of the model; {_ON_PURPOSE}"
        )


def _check_names(
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    where: str,
    ignore_mismatched_sizes: bool,
) -> None:
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise ValueError(
            f"{where}: expected {len(expected)} weights, got none for {_some(missing)}; they would be random: take a "
            "whole copy of the model, or start from an encoder with from_backbone"
        )
    if unknown:
        raise ValueError(
            f"{where}: expected the weights that config.json describes, got others besides: {_some(unknown)}; take a "
            "whole copy of the model, config.json included"
        )
    other = [name for name, shape in expected.items() if found[name] != shape]
    if other and not ignore_mismatched_sizes:
        raise ValueError(
            f"{where}: expected {shown(other[0])} of shape {expected[other[0]]}, as the configuration describes it, "
            f"got {found[other[0]]}; take a whole copy of the model, or start such weights anew "
            "(ignore_mismatched_sizes)"
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(map(repr, names[:NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")


@contextmanager
def tensors(state_dict: Mapping[str, Tensor] | None, files: Sequence[str]) -> Iterator[Mapping[str, Tensor]]:
    """Yield the tensors on disk under their names; those of safetensors files are mapped into memory."""
    if state_dict is not None:
        yield state_dict
        return
    weights: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for file in files:
            if Path(file).suffix != ".safetensors":
                weights |= torch.load(file, map_location="cpu", weights_only=True)
                continue
            try:
                opened = stack.enter_context(safe_open(file, framework="pt"))
            except SafetensorError as error:
                raise ValueError(f"{file} is damaged ({error}); take a whole copy of the model") from error
            weights |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  no mapping
        yield weights


def _shape_digest(config: PreTrainedConfig) -> str:
    """Name what no one can choose for trained weights: backbone, heads but temperatures, engine, binary or not."""
    facts = raw_facts(config)
    return hashlib.sha256(
        encode({key: facts[key] for key in ("backbone", "heads", "engine", "weights") if key in facts})
    ).hexdigest()


@cache
def _say_unchecked(where: str) -> None:
    log.warning(
        "%s was saved without a fingerprint (by an earlier version, or another tool): whether its weights are those "
        "that were saved cannot be said; load and save it again (save_pretrained) to have them checked",
        where,
    )
