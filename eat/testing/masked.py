"""The adaptive encoder again, slow and obvious: padded, float64, tokens masked instead of removed.

Attention is a dense T x T product under a boolean mask, every decision is a Python loop over examples, each of which is
shown to pruner and criterion alone, and examples that exited are frozen where they stand.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eat.exits import ThresholdExit
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import pooling_at
from eat.ops.confidence import margin, sets_as_classes
from eat.ops.selection import rounded_scores
from eat.packed import Packed

HEAD_ACTIVATIONS = {
    "albert": torch.tanh,
    "bert": torch.tanh,
    "distilbert": torch.relu,
    "electra": F.gelu,
    "modernbert": F.gelu,
    "mpnet": torch.tanh,
    "roberta": torch.tanh,
    "xlm-roberta": torch.tanh,
}
COUNT_FROM_PADDING = ("mpnet", "roberta", "xlm-roberta")  # their positions count the tokens that are not padding


@dataclasses.dataclass
class MaskedOutput:
    """What `eat.packed.AdaptiveOutput` promises, and the smallest difference that decided anything."""

    logits: Tensor
    exit_depth: Tensor
    tokens_kept: Tensor
    all_logits: Tensor
    alive: list[Tensor]
    closest_decision: Tensor


class MaskedClassifier:
    """Classifies like ``model`` in evaluation mode."""

    def __init__(self, model: AdaptiveForSequenceClassification) -> None:
        self.weights = {name: tensor.detach().double() for name, tensor in model.encoder.state_dict().items()}
        self.model = model
        config = model.config.to_dict()
        self.attention, self.heads, self.backbone = config["attention"], config["heads"], config["backbone"]
        self.pruner, self.exit = config["pruner"], config["exit"]

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        trace: bool = False,
    ) -> MaskedOutput:
        """Classify a padded batch; ``trace`` lets no sequence exit early."""
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
            if depth in self.heads["depths"]:
                logits = self.head(rows, alive, depth)
                for i in range(batch):
                    if not running[i]:
                        continue
                    history[i].append(logits[i].numpy())
                    leaves, gap = (False, math.inf) if trace else self.decides(history[i])
                    closest[i] = min(float(closest[i]), gap if depth < layers else math.inf)
                    if leaves or depth == layers:
                        running[i], exit_depth[i] = False, depth
            for i in range(batch):
                if not running[i]:
                    continue
                gap = self.prune(i, depth, rows, received, input_ids, alive, protected, extents[i])
                closest[i] = min(float(closest[i]), gap)
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
        if "sep" in self.attention.get("global_tokens", ["cls"]):
            protected |= (input_ids == self.backbone["sep_token_id"]) & alive
        return protected

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """Words, positions and types, normalised and projected."""
        batch, width = input_ids.shape
        positions = torch.arange(width).expand(batch, width)
        if self.backbone["name"] in COUNT_FROM_PADDING:
            real = (input_ids != self.backbone["pad_token_id"]).long()
            positions = real.cumsum(1) * real + self.backbone["pad_token_id"]
        rows = self.weights["embeddings.words.weight"][input_ids]
        if "embeddings.positions.weight" in self.weights:
            rows = rows + self.weights["embeddings.positions.weight"][positions]
        if self.backbone["num_types"]:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            rows = rows + self.weights["embeddings.types.weight"][types]
        rows = self.norm(rows, "embeddings.norm")
        return self.linear(rows, "embeddings.project") if "embeddings.project.weight" in self.weights else rows

    def block(self, rows: Tensor, alive: Tensor, protected: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Rows after one block, and the attention that each received."""
        if self.backbone["name"] == "modernbert":
            return self.modernbert_block(rows, alive, protected, depth)
        name = "blocks.0" if self.backbone["name"] == "albert" else f"blocks.{depth - 1}"
        mixed, received = self.mix(self.linear(rows, f"{name}.qkv"), alive, self.visible(alive, protected))
        rows = self.norm(rows + self.linear(mixed, f"{name}.mixed"), f"{name}.mixed_norm")
        if self.backbone.get("feed_forward") == "learn_forget":
            forget, learn, candidate = self.linear(rows, f"{name}.inner").chunk(3, dim=2)
            gated = torch.sigmoid(forget) * rows + torch.sigmoid(learn) * torch.tanh(candidate)
            return self.norm(gated, f"{name}.outer_norm"), received
        inner = self.linear(F.gelu(self.linear(rows, f"{name}.inner")), f"{name}.outer")
        return self.norm(rows + inner, f"{name}.outer_norm"), received

    def modernbert_block(self, rows: Tensor, alive: Tensor, protected: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Norms before the branches, a gate in the feed-forward, rotary positions, and a window in local layers."""
        name, shape = f"blocks.{depth - 1}", self.backbone
        is_global = (depth - 1) % shape["global_every"] == 0
        visible = self.visible(alive, protected)
        if not is_global:
            visible = alive.unsqueeze(1) & self.near(alive.shape[1], shape["local_window"])
        qkv = self.linear(rows if depth == 1 else self.norm(rows, f"{name}.mixed_norm"), f"{name}.qkv")
        theta = shape["global_theta"] if is_global else shape["local_theta"]
        mixed, received = self.mix(qkv, alive, visible, theta)
        rows = rows + self.linear(mixed, f"{name}.mixed")
        inner, gate = self.linear(self.norm(rows, f"{name}.outer_norm"), f"{name}.inner").chunk(2, dim=2)
        return rows + self.linear(F.gelu(inner) * gate, f"{name}.outer"), received

    def mix(self, qkv: Tensor, alive: Tensor, visible: Tensor, theta: float | None = None) -> tuple[Tensor, Tensor]:
        """Return softmax(Q K^T / sqrt(d)) V and what each token received; ``theta`` is the base of rotary positions."""
        batch, width = alive.shape
        head_dim = self.backbone["dim"] // self.backbone["num_heads"]
        q, k, v = (part.reshape(batch, width, -1, head_dim).transpose(1, 2) for part in qkv.chunk(3, dim=2))
        if theta is not None:
            q, k = turned(q, theta), turned(k, theta)
        scores = q @ k.transpose(2, 3) / math.sqrt(head_dim)
        if "embeddings.position_bias.table.weight" in self.weights:
            scores = scores + self.position_bias(width)
        probabilities = scores.masked_fill(~visible.unsqueeze(1), -math.inf).softmax(-1)
        probabilities = probabilities.nan_to_num()  # dead queries that see no key
        received = (probabilities.mean(1) * alive.unsqueeze(2)).sum(1)
        return (probabilities @ v).transpose(1, 2).flatten(2), received

    def position_bias(self, width: int) -> Tensor:
        """(heads, T, T): what MPNet adds to the score of query and key by their distance."""
        buckets = [[bucket(key - query) for key in range(width)] for query in range(width)]
        return self.weights["embeddings.position_bias.table.weight"][torch.tensor(buckets)].permute(2, 0, 1)

    def visible(self, alive: Tensor, protected: Tensor) -> Tensor:
        """(batch, T, T): who sees whom."""
        batch, width = alive.shape
        visible = alive.unsqueeze(1).expand(batch, width, width)
        if self.attention["name"] == "full":
            return visible
        near = self.near(width, self.attention["window"])
        return visible & (near | protected.unsqueeze(1) | protected.unsqueeze(2))

    def near(self, width: int, window: int) -> Tensor:
        """(T, T): whether two columns are at most half a window apart."""
        column = torch.arange(width)
        return (column.unsqueeze(0) - column.unsqueeze(1)).abs() <= window // 2

    def head(self, rows: Tensor, alive: Tensor, depth: int) -> Tensor:
        """One row of logits per example."""
        if "norm.weight" in self.weights:
            rows = self.norm(rows, "norm")
        mean = pooling_at(self.heads, depth) == "mean"
        pooled = torch.stack(
            [row[live].mean(0) if mean else row[live][0] for row, live in zip(rows, alive, strict=True)]
        )
        inner = HEAD_ACTIVATIONS[self.backbone["name"]](self.linear(pooled, f"heads.{depth}.dense"))
        if f"heads.{depth}.activation.norm.weight" in self.weights:
            inner = self.norm(inner, f"heads.{depth}.activation.norm")
        temperatures = self.heads.get("temperatures") or [1.0] * len(self.heads["depths"])
        return self.linear(inner, f"heads.{depth}.out") / temperatures[self.heads["depths"].index(depth)]

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
        """Mask what the pruner drops of example ``i``, seen alone; return last kept minus first dropped."""
        if depth not in self.model.pruner.depths:
            return math.inf
        columns = alive[i].nonzero().squeeze(1)
        state = Packed(
            rows=rows[i, columns],
            token_ids=input_ids[i, columns],
            positions=columns,
            protected=protected[i, columns],
            example=(0,),
            host_lengths=(len(columns),),
            extents=(came_in,),
            num_protected=(int(protected[i, columns].sum()),),
            received=received[i, columns],
        )
        keep = self.model.pruner(state, depth)
        alive[i, columns[~keep]] = False
        return pruning_gap(self.model.pruner, state, depth, keep)

    def decides(self, history: list[np.ndarray]) -> tuple[bool, float]:
        """Ask the criterion whether one example exits, from its logits so far, and how close that was."""
        answers = torch.from_numpy(np.stack(history)).unsqueeze(1)
        answers = sets_as_classes(answers) if self.model.config.multi_label else answers
        return bool(self.model.exit_criterion(answers)), exit_gap(self.model.exit_criterion, answers)

    def linear(self, rows: Tensor, name: str) -> Tensor:
        """Multiply by a named layer."""
        return rows @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def norm(self, rows: Tensor, name: str) -> Tensor:
        """Normalise by a named LayerNorm."""
        mean, variance = rows.mean(-1, keepdim=True), rows.var(-1, keepdim=True, unbiased=False)
        scaled = (rows - mean) / (variance + self.backbone["norm_eps"]).sqrt()
        return scaled * self.weights[f"{name}.weight"] + self.weights.get(f"{name}.bias", 0.0)


def bucket(distance: int) -> int:
    """The bucket of a distance in whole numbers: 8 exact ones either way, then two for each doubling up to 128."""
    near, ranges = abs(distance), 0
    while near * near >= 64 * 2 ** (ranges + 1) and ranges < 7:
        ranges += 1
    return (near if near < 8 else 8 + ranges) + 16 * (distance > 0)


def turned(part: Tensor, theta: float) -> Tensor:
    """Turn (batch, heads, T, head_dim) by rotary positions, pair after pair; rounded as in Hugging Face's models."""
    part, out, half = part.float().double(), torch.empty_like(part), part.shape[3] // 2
    speeds = 1 / theta ** (torch.arange(0, 2 * half, 2).float() / (2 * half))
    angles = torch.arange(part.shape[2]).float().unsqueeze(1) * speeds
    cos, sin = angles.cos().double(), angles.sin().double()
    for i in range(half):
        a, b = part[..., i], part[..., i + half]
        out[..., i] = a * cos[:, i] - b * sin[:, i]
        out[..., i + half] = b * cos[:, i] + a * sin[:, i]
    return out


def pruning_gap(pruner: Any, state: Packed, depth: int, keep: Tensor) -> float:
    """Return the smallest relative noise of the scores that could change what is kept; infinite without known scores.

    Scores are compared rounded, equal ones by position: see `eat.ops.selection.rounded_scores`.
    """
    if not hasattr(pruner, "scores") or bool(keep.all()):
        return math.inf
    scores, ranked = pruner.scores(state, depth), keep & ~state.protected
    if not bool(ranked.any()):
        return math.inf
    order = torch.arange(len(scores), 0, -1)
    for noise in np.geomspace(1e-10, 1e-2, 25).tolist():
        low, high = (rounded_scores(scores + sign * noise * scores.abs()) for sign in (-1, 1))
        kept = min(zip(low[ranked].tolist(), order[ranked].tolist(), strict=True))
        if kept < max(zip(high[~keep].tolist(), order[~keep].tolist(), strict=True)):
            return float(noise)
    return math.inf


def exit_gap(criterion: Any, history: Tensor) -> float:
    """Return the smallest difference that one example's exit may hang on: of scores, and between the best classes."""
    gaps = [math.inf]
    if isinstance(criterion, ThresholdExit):
        bound = criterion.bound(history.shape[2])
        bounds = [bound] if isinstance(bound, float) else list(bound)
        score = criterion.measure(history)
        gaps += [abs(float(score) - value) for value in bounds if not math.isnan(float(score))]
    if criterion.needs_classes:
        margins = [float(margin(logits)) for logits in history]
        gaps += margins
        if getattr(criterion, "veto_margin", None) is not None:
            gaps.append(abs(margins[-1] - criterion.veto_margin))
    return min(gaps)
