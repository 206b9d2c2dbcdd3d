"""What certified answers look like: counts over fixed bins, small enough to stand in a certificate.

The bins are the same for every model and never chosen from data: tests of later traffic against a profile rest on that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from eat.checks import shown

QUANTITIES = ("depth", "confidence", "retention", "length")
"""Exit depth; probability of the class answered; tokens of the last executed block / tokens that came in; tokens in."""

BINS = 64
VERSION = 1
"""Of the bins: counts over other ones cannot be compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """How many examples fell into each bin."""

    counts: Int64[np.ndarray, "quantities bins"]  # a row per quantity of `QUANTITIES`; each sums to the examples

    @property
    def examples(self) -> int:
        """How many were counted."""
        return int(self.counts[0].sum())

    @classmethod
    def of(cls, values: Float64[np.ndarray, "quantities examples"]) -> Profile:
        """Count what `measure` returned."""
        return cls(np.stack([np.bincount(row, minlength=BINS) for row in bins_of(values)]))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: of each quantity the bins that hold any."""
        counts = {
            name: {str(index): int(row[index]) for index in np.flatnonzero(row)}
            for name, row in zip(QUANTITIES, self.counts, strict=True)
        }
        return {"version": VERSION, "examples": self.examples, "counts": counts}

    @classmethod
    def from_certificate(cls, certificate: Mapping[str, Any]) -> Profile:
        """Read the profile in a certificate.

        Raises:
            ValueError: If it has none, or one over other bins.
        """
        if not isinstance(certificate.get("profile"), Mapping):
            raise ValueError(
                "certificate.profile: expected what certified answers look like, got none: an older certificate; "
                "certify the model again (evaluate.py stages=[certify])"
            )
        return cls.from_dict(certificate["profile"])

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Profile:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: If its bins are another version's, or its counts do not sum to its examples.
        """
        if saved.get("version") != VERSION:
            raise ValueError(
                f"profile.version: expected {VERSION}, got {shown(saved.get('version'))}: counts over other bins; "
                "certify the model again (evaluate.py stages=[certify])"
            )
        counts = np.zeros((len(QUANTITIES), BINS), dtype=np.int64)
        for row, name in zip(counts, QUANTITIES, strict=True):
            for index, count in saved["counts"][name].items():
                row[int(index)] = count
        if (counts < 0).any() or (counts.sum(1) != saved["examples"]).any():
            raise ValueError(
                f"profile.counts: expected them to sum to its {saved['examples']} examples for each of "
                f"{list(QUANTITIES)}, got {counts.sum(1).tolist()}"
            )
        return cls(counts)


def measure(
    logits: Float[np.ndarray, "examples classes"],
    exit_depth: Int[np.ndarray, " examples"],
    tokens_kept: Int[np.ndarray, "examples columns"],
    multi_label: bool = False,
) -> Float64[np.ndarray, "quantities examples"]:
    """Return each of `QUANTITIES`, in that order; an answer whose logits are NaN or infinite has confidence 0.

    The logits are those of the exit taken, ``tokens_kept`` is as in `eat.packed.AdaptiveOutput`; a ``multi_label``
    answer's confidence is that in its least sure label.
    """
    if multi_label:
        least = np.abs(logits).min(axis=1, keepdims=True)
        logits = np.concatenate((np.zeros_like(least), least), axis=1)
    tokens_in = tokens_kept[:, 0]
    last = np.take_along_axis(tokens_kept, exit_depth[:, None] - 1, axis=1)[:, 0]
    return np.stack([exit_depth, _confidence(logits), last / tokens_in, tokens_in]).astype(np.float64)


def _confidence(logits: Float[np.ndarray, "examples classes"]) -> Float64[np.ndarray, " examples"]:
    """Return max_c P(y = c)."""
    whole = np.isfinite(logits).all(axis=1)
    ordered = np.sort(np.where(whole[:, None], logits, 0.0).astype(np.float64), axis=1)
    others = np.exp(ordered[:, :-1] - ordered[:, -1:]).sum(axis=1)
    return np.where(whole, 1 / (1 + others), 0.0)


def bins_of(values: Float64[np.ndarray, "quantities examples"]) -> Int64[np.ndarray, "quantities examples"]:
    """Return the bin, from 0, of each value; `upper_edges` says where bins end."""
    depth, confidence, retention, length = values
    with np.errstate(divide="ignore"):
        surprise = -np.log1p(-confidence)  # infinite where the answer is certain: the last bin
    places = np.stack([depth - 1, 4 * surprise - 1, BINS * retention - 1, 4 * np.log2(length)])
    return np.ceil(places).clip(0, BINS - 1).astype(np.int64)


def upper_edges() -> Float64[np.ndarray, "quantities bins"]:
    """Return the largest value of each bin; the last bin also holds all that is larger.

    Depth: one bin each. Confidence c: equal steps of 0.25 in -log(1 - c), so fine near 1. Retention: equal steps.
    Length: four steps per doubling.
    """
    index = np.arange(BINS)
    return np.stack([index + 1.0, -np.expm1(-(index + 1) / 4), (index + 1) / BINS, 2 ** (index / 4)])
