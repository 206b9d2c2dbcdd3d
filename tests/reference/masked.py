"""The masked encoder with the package's own pruners and criteria written again, in loops."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from eat.testing import masked


class MaskedClassifier(masked.MaskedClassifier):
    """Classifies like ``model`` in evaluation mode."""

    def prune(
        self,
        i: int,
        depth: int,
        rows: Tensor,
        received: Tensor,
        input_ids: Tensor,
        alive: Tensor,
        protected: Tensor,
        came_in: int,
    ) -> float:
        """Rank and mask in plain Python; return the smallest noise of scores that could matter."""
        spec = self.pruner
        if spec["name"] == "none" or depth not in spec["depths"]:
            return math.inf
        ratio = spec["ratio"] if isinstance(spec["ratio"], float) else spec["ratio"][spec["depths"].index(depth)]
        columns = [c for c in range(alive.shape[1]) if alive[i, c] and not protected[i, c]]
        keep = len(columns) - math.floor(ratio * len(columns) + 1e-9)
        keep = min(len(columns), max(keep, spec.get("min_tokens", 1)))
        floor = math.ceil(spec.get("min_retention", 0) * came_in - 1e-9) - int((alive[i] & protected[i]).sum())
        keep = min(len(columns), max(keep, floor))
        scores = {
            "l2_norm": lambda c: float(rows[i, c].norm()) / math.sqrt(self.backbone["dim"]),
            "attention_received": lambda c: float(received[i, c]),
            "random": lambda c: hash_score(spec.get("seed", 0), depth, c, int(input_ids[i, c])),
        }[spec["name"]]
        ranked = sorted(((scores(c), c) for c in columns), key=lambda pair: (-rounded(pair[0]), pair[1]))
        for _, column in ranked[keep:]:
            alive[i, column] = False
        for noise in np.geomspace(1e-10, 1e-2, 25):
            kept_least = min((rounded(score * (1 - noise)), -c) for score, c in ranked[:keep]) if keep else (math.inf,)
            if any((rounded(score * (1 + noise)), -c) > kept_least for score, c in ranked[keep:]):
                return float(noise)
        return math.inf

    def decides(self, history: list[np.ndarray]) -> tuple[bool, float]:
        return exit_decision(self.exit, history)


def rounded(score: float) -> float:
    """16 significant binary digits of a score: what pruners compare."""
    mantissa, exponent = math.frexp(score)
    return math.ldexp(math.floor(abs(mantissa) * 2**16 + 0.5), exponent - 16) * math.copysign(1, score)


def exit_decision(spec: dict[str, Any], history: list[np.ndarray]) -> tuple[bool, float]:
    """Whether one example leaves, from its logits so far, and the smallest difference that this hung on."""
    leaves, gap = decision_without_veto(spec, history)
    if spec.get("veto_margin") is None:
        return leaves, gap
    ordered = [np.sort(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()) for logits in history]
    margins = [float(p[-1] - p[-2]) for p in ordered]
    agree = len(history) > 1 and len({int(logits.argmax()) for logits in history}) == 1
    low = margins[-1] < spec["veto_margin"]
    return leaves and (agree or not low), min(gap, abs(margins[-1] - spec["veto_margin"]), *margins)


def decision_without_veto(spec: dict[str, Any], history: list[np.ndarray]) -> tuple[bool, float]:
    """Whether one example leaves, from its logits so far, and the smallest difference that this hung on."""
    probabilities = [np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum() for logits in history]
    now = np.sort(probabilities[-1])[::-1]
    if spec["name"] == "never":
        return False, math.inf
    if spec["name"] == "confidence":
        return bool(now[0] >= spec["threshold"]), abs(now[0] - spec["threshold"])
    if spec["name"] == "margin":
        return bool(now[0] - now[1] >= spec["threshold"]), abs(now[0] - now[1] - spec["threshold"])
    if spec["name"] == "entropy":
        entropy = min(1.0, -sum(p * math.log(p) for p in now) / math.log(len(now)))
        return entropy <= spec["threshold"], abs(entropy - spec["threshold"])
    if spec["name"] == "patience":
        last = probabilities[-spec["patience"] - 1 :]
        agree = len(last) == spec["patience"] + 1 and len({int(p.argmax()) for p in last}) == 1
        threshold = spec.get("threshold")
        gap = min(float(np.diff(np.sort(p))[-1]) for p in probabilities)
        if threshold is None:
            return agree, gap
        return agree and bool(now[0] >= threshold), min(gap, abs(now[0] - threshold))
    return exit_decision_over_heads(spec, history, probabilities)


def exit_decision_over_heads(
    spec: dict[str, Any], history: list[np.ndarray], probabilities: list[np.ndarray]
) -> tuple[bool, float]:
    """The same for criteria that compare one head with another."""
    if spec["name"] == "patience_confidence":
        confident = 0
        for p in probabilities:
            confident = confident + 1 if p.max() >= spec["threshold"] else 0
        return confident >= spec["patience"], min(abs(p.max() - spec["threshold"]) for p in probabilities)
    if spec["name"] == "entropy_reduction":
        if len(history) < 2:
            return False, math.inf
        before, after = (-sum(p * math.log(p) for p in probabilities[i]) for i in (-2, -1))
        reduction = (before - after) / before
        reduction = 0.0 if abs(reduction) < 1e-6 else reduction
        return reduction < spec["threshold"], abs(reduction - spec["threshold"])
    if spec["name"] == "agreement":
        votes, weights = 0.0, 0
        for i, p in enumerate(probabilities, start=1):
            same = i > 1 and p.argmax() == probabilities[i - 2].argmax()
            votes, weights = i * p.max() + (votes if same else 0.0), weights + i
        return votes / weights >= spec["threshold"], abs(votes / weights - spec["threshold"])
    if spec["name"] == "difference":
        values = [float(logits[0]) for logits in history]
        steps = [abs(b - a) for a, b in pairwise(values)][-spec["patience"] :]
        near = len(steps) == spec["patience"] and all(step < spec["threshold"] for step in steps)
        return near, min((abs(step - spec["threshold"]) for step in steps), default=math.inf)
    raise AssertionError(spec)


def hash_score(seed: int, depth: int, position: int, token_id: int) -> float:
    """The random pruner's score in unbounded Python integers: SplitMix64's finaliser, twice."""
    size = 2**64
    state = (seed * 0x9E3779B97F4A7C15 + depth * 0xD1B54A32D192ED03) % size
    for value in (position, token_id):
        state = (state + (value + 1) * 0x9E3779B97F4A7C15) % size
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % size
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % size
        state ^= state >> 31
    return (state % 2**53) / 2**53
