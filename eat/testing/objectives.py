"""Check an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BertTokenizer

from eat.testing.checked import CLOSE, Checked, seeds
from eat.testing.subject import Arguments, Refused, Subject, subject_of
from eat.testing.tiny import FIRST_WORD, VOCABULARY
from eat.training.objectives import OBJECTIVES, Objective, build_objective
from eat.training.objectives.weighted import Phase

CLASSES, TOTAL_STEPS = 3, 10
Draw = Callable[[int, int, int], tuple[Tensor, dict[str, Tensor]]]
HUGE = 1e4  # logits of this size overflow an exp


def check_objective(
    objective: Any,
    arguments: Arguments | None = None,
    *,
    refused: Refused | None = None,
    trials: int = 20,
    seed: int = 0,
) -> Checked:
    """Check that an objective keeps what every objective promises.

    These are: what a step trains follows from the step alone; the loss is one finite number, the sum of its parts, for
    huge logits too; a finite gradient reaches the heads that learn, and no others; labels of shape (batch,) and (batch,
    1) count alike, or are refused by name; a mean over examples, in any order; the same where a text has any number of
    labels, or a refusal that names them; a regression is refused where classes are needed; nothing remembered; built by
    name.

    Args:
        objective: Its class, with ``arguments``; a function that builds one; an instance; or a name.
        arguments: Of the constructor.
        refused: Values out of range by argument; wrong types are tried anyway.
        trials: Random batches.
        seed: Of the first of them.

    Returns:
        What was checked.

    Raises:
        CheckFailedError: With what was checked, what was expected, what came, and the seed.
    """
    with subject_of("objective", OBJECTIVES, objective, arguments) as subject:
        checked = Checked(f"check_objective({subject.name})")
        built = subject.build()
        _check_protocol(checked, built)
        subject.check_refusals(checked, refused)
        _check_kinds(checked, subject, built)
        for number in seeds(seed, trials):
            with checked.trial(number):
                _check_phases(checked, subject, number)
                for outputs in (CLASSES,) if built.needs_classes else (CLASSES, 1):
                    _check_loss(checked, subject.build(), draw_examples, outputs, number)
                if _takes_label_sets(checked, subject.build()):
                    _check_loss(checked, subject.build(), draw_label_sets, CLASSES, number)
    return checked


def draw_examples(outputs: int, heads: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw all heads' logits, and a packed batch with labels: classes, or numbers where there is one output."""
    generator = torch.Generator().manual_seed(seed)
    batch = int(torch.randint(1, 7, (), generator=generator))
    lengths = torch.randint(2, 9, (batch,), generator=generator)
    ids = torch.randint(FIRST_WORD, VOCABULARY, (int(lengths.sum()),), generator=generator)
    classes = torch.randint(0, CLASSES, (batch,), generator=generator)
    labels = torch.randn(batch, generator=generator) if outputs == 1 else classes
    logits = torch.randn(batch, heads, outputs, generator=generator)
    return logits, {"input_ids": ids, "lengths": lengths, "labels": labels, "example": torch.arange(batch)}


def draw_label_sets(outputs: int, heads: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw what `draw_examples` does, with labels of a multi-label task: 0 or 1 for each output."""
    logits, batch = draw_examples(outputs, heads, seed)
    drawn = torch.rand(len(logits), outputs, generator=torch.Generator().manual_seed(seed)) < 0.5
    return logits, {**batch, "labels": drawn.float()}


def taken(batch: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Return some examples of a packed batch, in the order given."""
    texts = batch["input_ids"].split(batch["lengths"].tolist())
    others = {key: batch[key][list(rows)] for key in ("lengths", "labels", "example")}
    return {"input_ids": torch.cat([texts[row] for row in rows]), **others}


def _check_protocol(checked: Checked, objective: Any) -> None:
    missing = [name for name in ("needs_classes", "restarts", "phase", "__call__") if not hasattr(objective, name)]
    fact = "it has what eat.training.objectives.Objective asks for"
    checked.expect(isinstance(objective, Objective), fact, "all of it", f"no {missing}")


def _check_kinds(checked: Checked, subject: Subject, objective: Any) -> None:
    """Expect that it is built by name for classes, and for a regression exactly where it needs no classes."""
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word"])}
    spec = {key: value for key, value in subject.spec.items() if key != "teacher"}  # which is a folder by name

    def by_name(label_names: tuple[str, ...]) -> Any:
        whole = spec | ({"teacher": None} if "teacher" in subject.arguments else {})
        return build_objective(whole, tokenizer=BertTokenizer(vocab=words), label_names=label_names, max_length=8)

    checked.same(type(by_name(("a", "b", "c"))), type(objective), "it is built by its name")
    fact = "needs_classes says whether a regression is refused"
    try:
        by_name(())
    except ValueError as error:
        checked.expect(objective.needs_classes and "objective.name" in str(error), fact, "no error", str(error))
    else:
        checked.expect(not objective.needs_classes, fact, "a ValueError", "no error")


def _takes_label_sets(checked: Checked, objective: Any) -> bool:
    """Tell whether it takes labels of a multi-label task; if not, expect that it says so."""
    phase = objective.phase(0, TOTAL_STEPS, (1, 3, 6))
    try:
        objective(*draw_label_sets(CLASSES, len(phase.head_depths), 0), phase)
    except ValueError as error:
        checked.expect("labels" in str(error), "it takes several labels or refuses them by name", "labels", str(error))
        return False
    return True


def _check_phases(checked: Checked, subject: Subject, seed: int) -> None:
    """Check what steps train, for depths and numbers of steps that are drawn."""
    generator = torch.Generator().manual_seed(seed)
    count, total = (int(torch.randint(2, most, (), generator=generator)) for most in (7, 51))
    depths = tuple((torch.randperm(12, generator=generator)[:count] + 1).sort().values.tolist())
    objective, step = subject.build(), int(torch.randint(total, (), generator=generator))
    phase = objective.phase(step, total, depths)
    checked.same(objective.phase(step, total, depths), phase, "a step alone says what it trains")
    checked.same(subject.build().phase(step, total, depths), phase, "a step alone says what it trains, built anew")
    heads = phase.head_depths
    known = len(heads) > 0 and set(heads) <= set(depths) and list(heads) == sorted(set(heads))
    checked.expect(known, "a phase names some of the heads, ascending", depths, heads)
    weighted = len(phase.weights) == len(heads) and all(weight >= 0 for weight in phase.weights)
    checked.expect(weighted, "a phase weighs each of its heads", f"{len(heads)} numbers of 0 or more", phase.weights)
    learns = not phase.frozen or bool(set(heads) & set(depths[:-1]))
    checked.expect(learns, "a frozen phase has an early head to train", depths[:-1], heads)
    restarts = list(objective.restarts(total))
    inside = restarts == sorted(set(restarts)) and all(0 < start < total for start in restarts)
    checked.expect(inside, "restarts are steps within the training, ascending", f"0 < step < {total}", restarts)
    fact = "a model with one head can be trained, or head_depths is named"
    try:
        checked.same(objective.phase(step, total, (6,)).head_depths, (6,), fact)
    except ValueError as error:
        checked.expect("head_depths" in str(error), fact, "a message that names head_depths", str(error))


def _check_loss(checked: Checked, objective: Any, draw: Draw, outputs: int, seed: int) -> None:
    """Check the loss of a drawn batch, in a phase that is drawn."""
    phase = objective.phase(seed % TOTAL_STEPS, TOTAL_STEPS, (1, 3, 6))
    all_logits, batch = draw(outputs, len(phase.head_depths), seed)
    loss = _loss_and_gradient(checked, objective, all_logits, batch, phase)
    rows = list(range(len(all_logits)))
    checked.same(objective(all_logits, batch, phase)[0], loss, "it remembers nothing")
    twice = objective(all_logits[rows * 2], taken(batch, rows * 2), phase)[0]
    within = CLOSE * max(1.0, abs(float(loss)))
    checked.same(twice, loss, "a batch said twice has the same loss: a mean over the examples", within)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    moved = objective(all_logits[order], taken(batch, order), phase)[0]
    checked.same(moved, loss, "the order of the examples does not matter", within)
    if batch["labels"].ndim == 1:
        _check_column(checked, objective, all_logits, batch, phase, loss, within)
    _loss_and_gradient(checked, objective, all_logits.sign() * HUGE, batch, phase, huge=True)


def _check_column(
    checked: Checked,
    objective: Any,
    all_logits: Tensor,
    batch: dict[str, Tensor],
    phase: Phase,
    loss: Tensor,
    within: float,
) -> None:
    fact = "labels of shape (batch, 1) count as (batch,), or are refused by name"
    column = {**batch, "labels": batch["labels"].unsqueeze(1)}
    try:
        checked.same(objective(all_logits, column, phase)[0], loss, fact, within)
    except ValueError as error:
        checked.expect("labels" in str(error), fact, "a message that names labels", str(error))


def _loss_and_gradient(
    checked: Checked, objective: Any, logits: Tensor, batch: dict[str, Tensor], phase: Phase, huge: bool = False
) -> Tensor:
    logits = logits.clone().requires_grad_()
    loss, parts = objective(logits, batch, phase)
    checked.same(tuple(loss.shape), (), "the loss is one number")
    checked.expect(bool(loss.isfinite()), "the loss is finite, for huge logits too", "a finite number", loss.item())
    total = torch.stack(list(parts.values())).sum()
    checked.same(total, loss, "the loss is the sum of its parts", CLOSE * max(1.0, abs(loss.item())))
    (gradient,) = torch.autograd.grad(loss, logits)
    checked.expect(bool(gradient.isfinite().all()), "gradients are finite", "finite numbers", gradient)
    if not huge:  # where a softmax is sure nothing is left to learn
        taught = (gradient.flatten(2).abs().sum((0, 2)) > 0).tolist()
        learning = [depth < 6 or not phase.frozen for depth in phase.head_depths]
        checked.same(taught, learning, "the loss teaches the heads of its phase, and no frozen one")
    return loss.detach()
