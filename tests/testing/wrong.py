"""Parts that break one promise each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from eat.attention.full import FullAttention
from eat.backbones.bert import BertBackbone
from eat.benchmark.engines import Source
from eat.benchmark.engines.packed import Packed as PackedEngine
from eat.exits.confidence import ConfidenceExit
from eat.exits.threshold import ThresholdExit
from eat.pruners.ranked import RankedPruner
from eat.tasks.demo import DemoTask
from eat.training.compression.magnitude import MagnitudeCompression
from eat.training.objectives.depth_weighted import DepthWeightedObjective
from eat.training.objectives.weighted import Phase


class FirstTokens(RankedPruner):
    """A pruner that keeps its promises: the first tokens stay."""

    def scores(self, state, depth):
        return -state.positions.to(state.rows)


class LooksAtTheBatch(FirstTokens):
    def scores(self, state, depth):
        return ((state.rows[:, 0] - state.rows[:, 0].mean()) * state.positions).abs()


class DropsProtected(FirstTokens):
    def __call__(self, state, depth):
        return super().__call__(state, depth) & ~state.protected


class DropsSeparators(FirstTokens):
    def __call__(self, state, depth):
        keep = FirstTokens(self.depths, self.ratio)(state, depth)
        return keep & (~state.protected | (state.positions == 0))

    def lengths_after(self, state, depth):
        return None


class Miscounts(FirstTokens):
    def __call__(self, state, depth):
        return FirstTokens(self.depths, self.ratio)(state, depth)

    def lengths_after(self, state, depth):
        return state.host_lengths


class DrawsAnew(FirstTokens):
    def scores(self, state, depth):
        return torch.rand(len(state.rows))


class WritesRows(FirstTokens):
    def scores(self, state, depth):
        return state.rows.add_(1.0)[:, 0]


class ReadsUnasked(FirstTokens):
    def scores(self, state, depth):
        return super().scores(state, depth) if state.received is None else state.received


class IgnoresScale(FirstTokens):
    def lengths_after(self, state, depth):
        pruner = FirstTokens(self.depths, self.ratio)
        return pruner.lengths_after(state, depth)


class GivesIndices(FirstTokens):
    def __call__(self, state, depth):
        return super().__call__(state, depth).nonzero().squeeze(1)


class Unchecked:
    """No wrong type is refused."""

    scale = 1.0

    def __init__(self, depths=(1,), ratio=0.5):
        self.depths = tuple(depths)

    def needs(self, depth):
        return False

    def __call__(self, state, depth):
        return torch.ones_like(state.protected)

    def lengths_after(self, state, depth):
        return None


class CallsItPruning:
    """No pruner at all."""

    depths = (1,)


class RemembersLength(FirstTokens):
    """Keeps less of what it sees after the first call."""

    def scores(self, state, depth):
        self.seen = getattr(self, "seen", 0) + 1
        return super().scores(state, depth) * (-1) ** self.seen


class ByPosition(FirstTokens):
    """Reads where a token stands in the packed rows, not in its text: right on its own, wrong with holes."""

    def scores(self, state, depth):
        return (torch.arange(len(state.rows)) * 7919 % 101).to(state.rows)


@dataclasses.dataclass(eq=False)
class ByNeighbours(ThresholdExit):
    threshold: Any = 0.9
    veto_margin: Any = None

    def measure(self, history):
        score = history[-1].softmax(-1).amax(-1)
        return score * (score.nanmean() > 0.7)


@dataclasses.dataclass(eq=False)
class SureWhenBroken(ConfidenceExit):
    def __call__(self, history):
        return super().__call__(history.nan_to_num())


class NeverThoughActive:
    active, needs_classes, needs_score = True, False, False

    def __call__(self, history):
        return torch.zeros(history.shape[1], dtype=torch.bool)


class LetsGoThoughInactive(NeverThoughActive):
    active = False

    def __call__(self, history):
        return history[-1].amax(-1) > 0


class KeepsCount(NeverThoughActive):
    calls = 0

    def __call__(self, history):
        self.calls += 1
        return torch.full((history.shape[1],), self.calls % 2 == 1) & ~history[-1].isnan().any(-1)


class Sharpens(NeverThoughActive):
    def __call__(self, history):
        history.mul_(2)
        return history[-1].amax(-1) > 1


class ReadsBoth(NeverThoughActive):
    needs_classes, needs_score = True, True


@dataclasses.dataclass(eq=False)
class OneThreshold(ConfidenceExit):
    """A threshold per class is that of the first class."""

    def __call__(self, history):
        bound = self.threshold[0] if isinstance(self.threshold, tuple) else self.threshold
        return self.score(history) >= bound


@dataclasses.dataclass(eq=False)
class NoVeto(ConfidenceExit):
    def score(self, history):
        return self.measure(history)


class Broadcasts(DepthWeightedObjective):
    """Takes labels as they come."""

    def __call__(self, all_logits, batch, phase):
        answers = all_logits.softmax(-1)[..., 0]
        loss = (answers.T - batch["labels"]).square().mean()
        return loss, {"supervised": loss}


class Sums(DepthWeightedObjective):
    def __call__(self, all_logits, batch, phase):
        loss, _ = super().__call__(all_logits, batch, phase)
        return loss * len(all_logits), {"supervised": loss * len(all_logits)}


class LosesAPart(DepthWeightedObjective):
    def __call__(self, all_logits, batch, phase):
        loss, parts = super().__call__(all_logits, batch, phase)
        return 2 * loss, parts


class LastHeadOnly(DepthWeightedObjective):
    def __call__(self, all_logits, batch, phase):
        last = Phase(phase.head_depths[-1:], phase.weights[-1:])
        return super().__call__(all_logits[:, -1:], batch, last)


class Overflows(DepthWeightedObjective):
    def __call__(self, all_logits, batch, phase):
        loss = all_logits.exp().mean()
        return loss, {"supervised": loss}


class ByTheClock(DepthWeightedObjective):
    steps = 0

    def phase(self, step, total_steps, head_depths):
        self.steps += 1
        return super().phase(step, total_steps, head_depths[self.steps % 2 :])


class ForeignHeads(DepthWeightedObjective):
    def phase(self, step, total_steps, head_depths):
        return Phase((99,), (1.0,))


class NeedsNoClassesItSays(DepthWeightedObjective):
    def __call__(self, all_logits, batch, phase):
        loss = torch.nn.functional.cross_entropy(all_logits[:, -1], batch["labels"].reshape(-1).long())
        return loss, {"supervised": loss}


class SeesTheBatch(FullAttention):
    def __call__(self, qkv, state, *, dropout, received):
        mixed, scores = super().__call__(qkv, state, dropout=dropout, received=received)
        return mixed + mixed.mean(), scores


class NoReceived(FullAttention):
    def __call__(self, qkv, state, *, dropout, received):
        return super().__call__(qkv, state, dropout=dropout, received=False)


class DoubleReceived(FullAttention):
    def __call__(self, qkv, state, *, dropout, received):
        mixed, scores = super().__call__(qkv, state, dropout=dropout, received=received)
        return mixed, None if scores is None else 2 * scores


class Free(FullAttention):
    def pairs(self, length, extent, num_global):
        return 1


class NoGlobal(FullAttention):
    global_tokens = ()


class Shifted(BertBackbone):
    """Its positions start at 1."""

    def position_ids(self, token_ids, live):
        return super().position_ids(token_ids, live) + 1


class KeyForQuery(BertBackbone):
    """Its queries and keys are exchanged there, and not back."""

    encoder_names: Mapping = BertBackbone.encoder_names | {
        "blocks.{i}.inner": "encoder.layer.{i}.output.dense",
        "blocks.{i}.outer": "encoder.layer.{i}.intermediate.dense",
    }


class Relu(BertBackbone):
    @classmethod
    def from_hf_config(cls, config):
        return dataclasses.replace(super().from_hf_config(config), norm_eps=0.1)


@dataclasses.dataclass(frozen=True)
class OffByALittle(PackedEngine):
    def call(self, source):
        call = super().call(source)
        return lambda batch: call(batch) + np.float32(0.01)


@dataclasses.dataclass(frozen=True)
class OffWhenLoaded(PackedEngine):
    def call(self, source):
        call = super().call(source)
        return call if isinstance(source, Source) else lambda batch: call(batch) * 2


@dataclasses.dataclass(frozen=True)
class NamesAnother(PackedEngine):
    def save(self, source, folder, name):
        return dataclasses.replace(super().save(source, folder, name), engine="eat")


class OtherRows(DemoTask):
    loaded = 0

    def load(self, root=None, cache_dir=None):
        OtherRows.loaded += 1
        self.corpus_seed = OtherRows.loaded
        return super().load(root, cache_dir)


class TrainsOnReported(DemoTask):
    def load(self, root=None, cache_dir=None):
        splits = super().load(root, cache_dir)
        return splits | {"validation": splits["train"].select(range(20))}


class ThreeClasses(DemoTask):
    num_labels = 3


class OneClassTooFew(DemoTask):
    def load(self, root=None, cache_dir=None):
        splits = super().load(root, cache_dir)
        return {name: rows.map(lambda row: {"label": row["label"] + 1}) for name, rows in splits.items()}


class UnknownMetric(DemoTask):
    metrics = ("f17",)


class NumbersForText(DemoTask):
    text_fields = ("difficulty",)


class TrainOnly(DemoTask):
    def load(self, root=None, cache_dir=None):
        return {"train": super().load(root, cache_dir)["train"]}


class SplitsAnyhow:
    """A leakage rule of single rows, for a task whose texts repeat."""

    def units(self, train):
        from eat.tasks.units import Unit

        return [Unit(str(row), (row,), 0) for row in range(len(train))]

    def leaving_with(self, held_out, train):
        return set()


class Repeats(DemoTask):
    group_by = SplitsAnyhow()

    def load(self, root=None, cache_dir=None):
        splits = super().load(root, cache_dir)
        rows = [*range(100), *range(100)]
        return splits | {"train": splits["train"].select(rows)}


class StaysAttached(MagnitudeCompression):
    def finish(self, model):
        self.update(model, 1, 1)
        return model


class FinishesElsewhere(MagnitudeCompression):
    def finish(self, model):
        return dataclasses.replace(self, keep=self.keep / 2)._finish(model)

    def _finish(self, model):
        return super().finish(model)


class RemembersTheLeast(MagnitudeCompression):
    def share_at(self, final, step, total_steps):
        shares = self.__dict__.setdefault("shares", [1.0])
        shares.append(min(shares[-1] - 0.01, super().share_at(final, step, total_steps)))
        return shares[-1]


class NeverEnds(MagnitudeCompression):
    def end_step(self, total_steps):
        return total_steps + 1
