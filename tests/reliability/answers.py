"""Kind ``answers``: one sequence, answered alone, in batches, packed, in a stream and from a trace, says the same.

An input is one sequence of a batch, every one of which is answered in all of these ways.
"""

from __future__ import annotations

import dataclasses
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eat.exits.points import OperatingPoint
from eat.models.sharing import all_off
from eat.traces.replay import replay
from eat.traces.trace import RecordedTask, Trace
from tests.reference.tiny import batch_of, pack, types_for
from tests.reliability.campaign import Case
from tests.reliability.near_ties import WatchedPruner, WatchedRules, near_exits, size_of
from tests.reliability.random_models import (
    CASES_PER_MODEL,
    Model,
    make_model,
    model_number,
    random_parts,
    random_rules,
)
from tests.reliability.refusals import REFUSED, attempt

TASKS = {
    False: RecordedTask("random", "classification", (), ("accuracy",), 2),
    True: RecordedTask("random", "multi_label", (), ("micro_f1",), 2),
}
"""By whether a text has several labels."""
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
MOST_TOKENS = 2048  # of a batch


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a way of asking answers, in the order of the batch."""

    logits: Tensor
    exit_depth: Tensor
    tokens_kept: Tensor

    @classmethod
    def of(cls, output: Any, order: list[int] | None = None) -> Answers:
        """Take an output; ``order`` says which sequence of the batch each of its rows is."""
        parts = [output.logits, output.exit_depth, output.tokens_kept]
        if order is not None:
            back = torch.tensor(order).argsort()
            parts = [part[back] for part in parts]
        return cls(*parts)

    @classmethod
    def join(cls, parts: list[Answers]) -> Answers:
        """Put the answers of several batches end to end."""
        fields = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


@torch.inference_mode()
def check_answers(case: Case) -> None:
    """Draw parts and a batch for the model that this seed has, and compare all ways of answering it."""
    draw, model = case.random, make_model(model_number(case.seed))
    model.set_rules(None)  # of the case before
    for part, spec in random_parts(draw, model).items():
        getattr(model, f"set_{part}")(**spec)
    layout = draw.choices(["right", "left", "holes"], [3, 1, 1])[0]
    lengths = random_lengths(draw, model)
    width = min(model.backbone.max_length, max(lengths) + draw.choice([0, 0, 3])) if layout != "holes" else None
    ids, mask, types = batch_of(lengths, layout, seed=case.seed, pad=model.backbone.pad_token_id, width=width)
    batch = ids, mask, types_for(model, types if draw.random() < 0.8 else torch.zeros_like(types))
    case.count(inputs=len(lengths))
    traced, near = trace(case, model, batch)
    live = Answers.of(model(*batch))
    check_counts(case, model, live, mask)
    compare = Comparison(case, model, live, near, f"{layout} padding")
    if traced is not None:
        compare("a replay", replayed(model, traced))
    order = draw.sample(range(len(lengths)), len(lengths))
    compare("another order", Answers.of(model(*(None if part is None else part[order] for part in batch)), order))
    compare("each alone", Answers.join([Answers.of(model(*row(batch, i))) for i in range(len(lengths))]))
    if layout == "right":
        packed = pack(*batch[:2], torch.zeros_like(ids) if batch[2] is None else batch[2])
        compare("a packed batch", Answers.of(model(**packed)))
        compare("a stream", streamed(model, packed, draw))
    case.count(near_ties=len(near))
    if case.seed % CASES_PER_MODEL == 0:
        check_saved(case, model, batch)
    if layout == "right" and case.seed % 6 == 0:
        check_hugging_face(case, model, batch)
    if model.config.num_outputs > 1 and not model.config.multi_label and draw.random() < 0.25:
        check_rules(case, model, batch, live, near, draw)


def random_lengths(draw: random.Random, model: Model) -> list[int]:
    """Draw the lengths of a batch, alike or mixed, with some at both ends."""
    longest = min(model.backbone.max_length - 3, draw.choice([4, 12, 30, 30, 60, 237]))
    count = draw.choice([1, 8, 64, 96, 128, 128]) if longest < 61 else draw.randint(1, 8)
    kind = draw.choice(["mixed", "mixed", "equal", "ends"])
    if kind == "equal":
        return [draw.randint(1, longest)] * count
    lengths = [draw.choice([1, 2, longest]) if kind == "ends" else draw.randint(1, longest) for _ in range(count)]
    while sum(lengths) > MOST_TOKENS:
        lengths.pop()
    return lengths


def row(batch: tuple[Tensor | None, ...], index: int) -> tuple[Tensor | None, ...]:
    """Return one sequence as a batch of its own, with its padding only where there are holes or it stands left."""
    ids, mask, types = (None if part is None else part[index : index + 1] for part in batch)
    assert ids is not None and mask is not None
    live = int(mask.sum())
    if bool(mask[0, :live].all()):
        return ids[:, :live], None, None if types is None else types[:, :live]
    return ids, mask.bool(), types


def trace(case: Case, model: Model, batch: tuple[Any, ...]) -> tuple[Trace | None, set[int]]:
    """Trace a batch under watch; return the trace, and the sequences that have a near-tie on their path."""
    size, pruner = size_of(model), model.encoder.pruner
    model.encoder.pruner = watched = WatchedPruner(pruner, case, size)
    try:
        output = model(*batch, trace=True)
    finally:
        model.encoder.pruner = pruner
    if not bool(output.all_logits.isfinite().all()):
        case.fail("logits are not finite")
        return None, set(range(len(output.logits)))
    near = near_exits(model.encoder, output.all_logits, size, case.seed) if size else set()
    logits = output.all_logits if size else output.all_logits.float()
    several = model.config.multi_label
    made = Trace(
        labels=np.zeros((len(logits), model.config.num_outputs) if several else len(logits), dtype=np.int64),
        all_logits=logits.numpy(),
        tokens_kept=output.tokens_kept.numpy(),
        head_depths=model.head_depths,
        task=TASKS[several],
        metadata={"split": "random", "config": model.config.to_dict()},
    )
    return made, near | watched.near


def replayed(model: Model, traced: Trace) -> Answers:
    """Replay the model's operating point on a trace."""
    made = replay(traced, OperatingPoint.of(model.config.exit))
    logits = torch.from_numpy(made.logits).to(model.dtype)
    return Answers(logits, torch.from_numpy(made.exit_depth), torch.from_numpy(made.tokens_kept))


def streamed(model: Model, packed: dict[str, Tensor], draw: random.Random) -> Answers:
    """Answer a batch as a stream."""
    lengths = packed["lengths"].tolist()
    ids, types = (packed[name].split(lengths) for name in ("input_ids", "token_type_ids"))
    as_lists = draw.random() < 0.5
    examples = (
        {"input_ids": i.tolist() if as_lists else i, "token_type_ids": t.tolist() if as_lists else t}
        for i, t in zip(ids, types, strict=True)
    )
    size = draw.choice([1, 2, 5, 16, 32])
    more = {"max_in_flight": size + draw.randint(0, 40)} if draw.random() < 0.3 else {}
    answers = list(model.predict_stream(examples, batch_size=size, **more))
    return Answers(
        torch.stack([answer.logits for answer in answers]),
        torch.tensor([answer.exit_depth for answer in answers]),
        torch.tensor([answer.tokens_kept for answer in answers]),
    )


def conditioning(model: Model) -> float:
    """Return how much the heads enlarge a rounding: their logits are sums of terms, each rounded at its own size."""
    outs = [(head.out, head.temperature) for head in model.encoder.heads.values()]
    return max(1.0, *(float((out.weight.abs().sum(1) + out.bias.abs()).max()) / divisor for out, divisor in outs))


def check_counts(case: Case, model: Model, live: Answers, mask: Tensor) -> None:
    """Tokens never grow, every sequence exits at a head, and nothing is left of it afterwards."""
    kept = live.tokens_kept
    if not torch.equal(kept[:, 0], mask.sum(1)) or bool((kept.diff(dim=1) > 0).any()):
        case.fail("tokens grew", kept.tolist())
    if not set(live.exit_depth.tolist()) <= set(model.head_depths):
        case.fail("a sequence left where no head is", live.exit_depth.tolist())
    gone = torch.arange(kept.shape[1]) >= live.exit_depth.unsqueeze(1)
    if bool((kept[gone] != 0).any()) or bool((kept[~gone] == 0).any()):
        case.fail("tokens of a sequence that left, or none of one that stayed", kept.tolist())


def check_rules(
    case: Case, model: Model, batch: tuple[Any, ...], heads: Answers, near: set[int], draw: random.Random
) -> None:
    """Sequences that a rule lets exit do so in every batch, and the others answer as without rules (``heads``)."""
    model.set_rules(random_rules(draw, model))
    rules = model.encoder.rules
    assert rules is not None
    watched: Any = WatchedRules(rules, case.seed)
    model.encoder.rules = watched
    try:
        live = Answers.of(model(*batch))
    finally:
        model.encoder.rules = rules
    compare = Comparison(case, model, live, near | watched.near, "rules")
    count = len(live.logits)
    order = draw.sample(range(count), count)
    compare("another order", Answers.of(model(*(None if part is None else part[order] for part in batch)), order))
    compare("each alone", Answers.join([Answers.of(model(*row(batch, i))) for i in range(count)]))
    by_rule = live.exit_depth < (model.head_depths[0] if model.exit_criterion.active else model.num_layers)
    case.count(exits_by_rule=int(by_rule.sum()), rules=count, near_ties=len(watched.near - near))
    fields = [field.name for field in dataclasses.fields(Answers)]
    shapes = {name: by_rule.view(-1, *[1] * (getattr(live, name).ndim - 1)) for name in fields}
    without = {name: torch.where(shapes[name], getattr(live, name), getattr(heads, name)) for name in fields}
    compare("without rules, those that none lets exit", Answers(**without))
    if draw.random() < 0.1:
        check_saved(case, model, batch)


def check_saved(case: Case, model: Model, batch: tuple[Any, ...]) -> None:
    """A saved model, loaded again, answers bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = Model.from_pretrained(Path(folder), dtype=model.dtype)
    case.count(saved_and_loaded=1)
    if not torch.equal(loaded(*batch).logits, model(*batch).logits):
        case.fail("a model that was saved and loaded answers differently", model.config.to_dict())


def check_hugging_face(case: Case, model: Model, batch: tuple[Any, ...]) -> None:
    """With everything off it is Hugging Face's model, or its export is refused."""
    if not size_of(model) or model.config.engine is not None:
        return
    names = ["to_hugging_face", "pooling", "temperature", "feed_forward"]
    theirs = attempt(case, model.to_hugging_face, names, "export refused")
    if theirs is REFUSED:
        case.count(exports_refused=1)
        return
    ids, mask, types = batch
    expected = theirs(ids, mask, **({} if types is None else {"token_type_ids": types})).logits
    difference = float((all_off(model)(*batch).logits - expected).abs().max())
    case.count(equal_to_hugging_face=len(ids))
    if difference > TOLERANCES[model.dtype] * conditioning(model):
        final = model.config.head_pooling(model.num_layers)
        case.fail(
            f"all off is not Hugging Face's model (last head reads {final}, {model.dtype})",
            f"logits differ by {difference:.3g}",
        )


class Comparison:
    """Compares ways of answering with the live batch; sequences with a near-tie may differ, and are counted."""

    def __init__(self, case: Case, model: Model, live: Answers, near: set[int], layout: str) -> None:
        self.case, self.live, self.layout = case, live, layout
        self.tolerance = TOLERANCES[model.dtype] * conditioning(model) if model.dtype in TOLERANCES else None
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.near = torch.tensor([index in near for index in range(len(live.logits))])

    def __call__(self, way: str, other: Answers) -> None:
        """Compare one way."""
        live = self.live
        counts = (live.exit_depth != other.exit_depth) | (live.tokens_kept != other.tokens_kept).any(1)
        apart = (live.logits - other.logits).abs().amax(1)
        if self.tolerance is None:  # low precision: agreement is counted, nothing is promised
            same = ~counts & (live.logits.argmax(1) == other.logits.argmax(1))
            self.case.count(low_precision=len(same), low_precision_agree=int(same.sum()))
            return
        differs = counts | ~(apart <= self.tolerance)
        self.case.count(compared=len(differs), near_ties_that_differ=int((differs & self.near).sum()))
        if bool((wrong := differs & ~self.near).any()):
            first = int(wrong.nonzero()[0])
            what = "exits or tokens" if bool(counts[first]) else "logits"
            self.case.fail(
                f"{way} differs from the batch in {what} ({self.dtype}, {self.layout})",
                f"{int(wrong.sum())} of {len(wrong)} sequences, first {first}: logits {float(apart[first]):.3g} apart, "
                f"exits {int(live.exit_depth[first])} and {int(other.exit_depth[first])}, "
                f"tokens {live.tokens_kept[first].tolist()} and {other.tokens_kept[first].tolist()}",
            )
