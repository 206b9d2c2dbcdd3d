"""The adaptive encoder again, slow and obvious: padded, float64, tokens masked instead of removed.

Nothing here comes from the package but the weights' names and the config: attention is a dense T x T product under a
boolean mask, every decision is a Python loop over examples, and examples that left are frozen where they stand.
"""

import dataclasses
import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HEAD_ACTIVATIONS = {"bert": torch.tanh, "roberta": torch.tanh, "distilbert": torch.relu, "electra": F.gelu}


@dataclasses.dataclass
class MaskedOutput:
    """What :class:`~eat.packed.AdaptiveOutput` promises, and the smallest difference that decided anything."""

    logits: Tensor
    exit_depth: Tensor
    tokens_kept: Tensor
    all_logits: Tensor
    alive: list[Tensor]
    closest_decision: Tensor


class MaskedClassifier:
    """Classifies like ``model`` in evaluation mode."""

    def __init__(self, model: Any) -> None:
        self.weights = {name: tensor.detach().double() for name, tensor in model.encoder.state_dict().items()}
        self.config = model.config
        self.backbone = dict(model.config.backbone)

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None, trace=False
    ) -> MaskedOutput:
        batch = input_ids.shape[0]
        layers = self.backbone["num_layers"]
        alive = (
            torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool().clone()
        )
        protected = self.protected(input_ids, alive)
        running = [True] * batch
        kept = torch.zeros(batch, layers + 1, dtype=torch.long)
        kept[:, 0] = alive.sum(1)
        extents = [int(row.nonzero()[-1] - row.nonzero()[0]) + 1 for row in alive]
        history: list[list[np.ndarray]] = [[] for _ in range(batch)]
        exit_depth = torch.zeros(batch, dtype=torch.long)
        closest = torch.full((batch,), math.inf, dtype=torch.float64)
        steps = []
        rows = self.embed(input_ids, token_type_ids)
        for depth in range(1, layers + 1):
            new, received = self.block(rows, alive, protected, depth)
            live = alive & torch.tensor(running).unsqueeze(1)
            rows = torch.where(live.unsqueeze(2), new, rows)
            if depth in self.config.heads["depths"]:
                logits = self.head(rows, alive, depth)
                for i in range(batch):
                    if not running[i]:
                        continue
                    history[i].append(logits[i].numpy())
                    leaves, gap = (False, math.inf) if trace else exit_decision(self.config.exit, history[i])
                    closest[i] = min(closest[i], gap if depth < layers else math.inf)
                    if leaves or depth == layers:
                        running[i], exit_depth[i] = False, depth
            for i in range(batch):
                if not running[i]:
                    continue
                gap = self.prune(i, depth, rows, received, input_ids, alive, protected, extents[i])
                closest[i] = min(closest[i], gap)
                kept[i, depth] = alive[i].sum()
            steps.append(alive.clone())
        last = torch.tensor(np.stack([answers[-1] for answers in history]))
        complete = len({len(answers) for answers in history}) == 1
        every = torch.tensor(np.stack([np.stack(answers) for answers in history])) if complete else torch.empty(0)
        return MaskedOutput(last, exit_depth, kept, every, steps, closest)

    def protected(self, input_ids: Tensor, alive: Tensor) -> Tensor:
        """Each sequence's first live token, and separators where they are global."""
        protected = torch.zeros_like(alive)
        for i, row in enumerate(alive):
            protected[i, row.nonzero()[0]] = True
        if "sep" in self.config.attention.get("global_tokens", ["cls"]):
            protected |= (input_ids == self.backbone["sep_token_id"]) & alive
        return protected

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """Words, positions and types, normalised and projected."""
        batch, width = input_ids.shape
        positions = torch.arange(width).expand(batch, width)
        if self.backbone["name"] == "roberta":
            real = (input_ids != self.backbone["pad_token_id"]).long()
            positions = real.cumsum(1) * real + self.backbone["pad_token_id"]
        rows = (
            self.weights["embeddings.words.weight"][input_ids] + self.weights["embeddings.positions.weight"][positions]
        )
        if self.backbone["num_types"]:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            rows = rows + self.weights["embeddings.types.weight"][types]
        rows = self.norm(rows, "embeddings.norm")
        return self.linear(rows, "embeddings.project") if "embeddings.project.weight" in self.weights else rows

    def block(self, rows: Tensor, alive: Tensor, protected: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Rows after one block, and the attention that each received."""
        name = f"blocks.{depth - 1}"
        batch, width, dim = rows.shape
        heads = self.backbone["num_heads"]
        q, k, v = (
            part.view(batch, width, heads, dim // heads).transpose(1, 2)
            for part in self.linear(rows, f"{name}.qkv").chunk(3, dim=2)
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(dim // heads)
        visible = self.visible(alive, protected).unsqueeze(1)
        probabilities = scores.masked_fill(~visible, -math.inf).softmax(-1)
        received = (probabilities.mean(1) * alive.unsqueeze(2)).sum(1)
        mixed = (probabilities @ v).transpose(1, 2).reshape(batch, width, dim)
        rows = self.norm(rows + self.linear(mixed, f"{name}.mixed"), f"{name}.mixed_norm")
        inner = self.linear(F.gelu(self.linear(rows, f"{name}.inner")), f"{name}.outer")
        return self.norm(rows + inner, f"{name}.outer_norm"), received

    def visible(self, alive: Tensor, protected: Tensor) -> Tensor:
        """(batch, T, T): who sees whom."""
        batch, width = alive.shape
        visible = alive.unsqueeze(1).expand(batch, width, width)
        if self.config.attention["name"] == "full":
            return visible
        column = torch.arange(width)
        near = (column.unsqueeze(0) - column.unsqueeze(1)).abs() <= self.config.attention["window"] // 2
        return visible & (near | protected.unsqueeze(1) | protected.unsqueeze(2))

    def head(self, rows: Tensor, alive: Tensor, depth: int) -> Tensor:
        """One row of logits per example."""
        pooled = torch.stack(
            [
                row[live].mean(0) if self.config.heads["pooling"] == "mean" else row[live][0]
                for row, live in zip(rows, alive, strict=True)
            ]
        )
        activation = HEAD_ACTIVATIONS[self.backbone["name"]]
        return self.linear(activation(self.linear(pooled, f"heads.{depth}.dense")), f"heads.{depth}.out")

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
        """Mask what the pruner drops of example ``i``; return the smallest noise of scores that could matter."""
        spec = self.config.pruner
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

    def linear(self, rows: Tensor, name: str) -> Tensor:
        return rows @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, rows: Tensor, name: str) -> Tensor:
        mean, variance = rows.mean(-1, keepdim=True), rows.var(-1, keepdim=True, unbiased=False)
        scaled = (rows - mean) / (variance + self.backbone["norm_eps"]).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


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
