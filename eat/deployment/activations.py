"""What comes into the dense layers of the blocks, measured beforehand: static int8 need not look at its rows.

A row's own scale costs a pass over it before each product and another after. A step that is fixed beforehand costs
neither, and an answer depends on no other row as well. What it loses where a channel is far larger than the others is
won back by smoothing (SmoothQuant, Xiao et al. 2023, eq. 4): such a channel is divided before the product, and its
weights are multiplied.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.examples import end_to_end, read_example
from eat.models.granted import encode
from eat.modules.block import Block

BATCH = 32
TAIL = 5e-5
"""Share of the numbers at each end that a fixed range cuts off: rare large ones would cost all others their digits."""
SMOOTHED = ("qkv", "inner")
"""Layers behind a norm, whose channels differ most; what the others are given is cut off at its tails instead."""
MIGRATION = 0.5  # SmoothQuant's alpha
_LEAST = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Activation:
    """The numbers that come into a layer."""

    low: float  # all but `TAIL` are above
    high: float  # all but `TAIL` are below
    channels: Float[np.ndarray, " inputs"] | None  # largest magnitude of each channel; None where it is not smoothed

    def smoothing(self, weight: Float[np.ndarray, "outputs inputs"]) -> Float[np.ndarray, " inputs"] | None:
        """Return what each channel is divided by, and its weights multiplied; None for nothing."""
        if self.channels is None:
            return None
        heavy = np.maximum(np.abs(weight).max(0), _LEAST)
        factors = np.maximum(self.channels, _LEAST) ** MIGRATION / heavy ** (1 - MIGRATION)
        # Around 1, so that what is divided keeps its size.
        return (factors / np.exp(np.log(factors).mean())).astype(np.float32)

    def range(self, smoothing: Float[np.ndarray, " inputs"] | None) -> tuple[float, float]:
        """Return the range that is quantised, which holds 0."""
        if smoothing is None or self.channels is None:
            return min(self.low, 0.0), max(self.high, _LEAST)
        largest = max(float((self.channels / smoothing).max()), _LEAST)
        return -largest, largest


def measure_activations(
    model: AdaptiveForSequenceClassification, examples: Sequence[Mapping[str, Sequence[int]]]
) -> dict[nn.Module, Activation]:
    """Measure the numbers that come into each dense layer of a model's blocks while it answers, pruned as it prunes.

    Args:
        model: A float32 model on a CPU, which is not changed; no text exits early.
        examples: ``input_ids`` and perhaps ``token_type_ids`` of texts like those to be answered: training rows.

    Raises:
        ValueError: If there are no examples, or one is not as `eat.models.examples.read_example` reads it.
    """
    if not examples:
        raise ValueError("calibration: expected some training rows, which ranges are measured on, got none")
    layers = {layer: part for block in model.encoder.blocks for part, layer in _dense(block)}
    tails: dict[nn.Module, list[np.ndarray]] = {layer: [] for layer in layers}
    largest: dict[nn.Module, np.ndarray] = {}

    def watch(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows = given[0].numpy()
        tails[layer].append(np.quantile(rows, (TAIL, 1 - TAIL)))
        if layers[layer] in SMOOTHED:
            largest[layer] = np.maximum(np.abs(rows).max(0), largest.get(layer, 0.0))

    training, hooks = model.training, [layer.register_forward_pre_hook(watch) for layer in layers]
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(examples), BATCH):
                batch = enumerate(examples[start : start + BATCH], start)
                ids, types, lengths = end_to_end(
                    [read_example(one, place, model.backbone) for place, one in batch], model.device
                )
                model(ids, token_type_ids=types, lengths=lengths, trace=True)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    found = {}
    for layer in layers:
        low, high = _rounded(np.mean(tails[layer], axis=0))
        channels = _rounded(largest[layer]) if layer in largest else None
        found[layer] = Activation(float(low), float(high), channels)
    return found


def rows_digest(examples: Sequence[Mapping[str, Sequence[int]]]) -> str:
    """Return 16 hex digits that name the rows on which ranges are measured, in their order."""
    named = [[list(map(int, example["input_ids"])), _types(example)] for example in examples]
    return hashlib.sha256(encode({"rows": named})).hexdigest()[:16]


def _types(example: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the token types; none where all are 0, as where there are no such keys."""
    types = [*map(int, example.get("token_type_ids") or ())]
    return types if any(types) else []


def _dense(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    assert isinstance(block, Block)
    for part in ("qkv", "mixed", "inner", "outer"):
        yield part, block.get_submodule(part)


def _rounded(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return three digits of each: the same on machines that add in another order."""
    return np.array([float(f"{value:.3g}") for value in values], dtype=np.float32)
