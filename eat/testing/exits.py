"""Check an exit criterion."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eat.exits import EXITS, ExitCriterion, ThresholdExit
from eat.exits import check_exit as check_outputs
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import MULTI_LABEL
from eat.packed import AdaptiveOutput
from eat.tasks import TaskKind
from eat.testing.checked import Checked, in_models, seeds
from eat.testing.models import (
    answer,
    check_in_float32,
    check_in_model,
    check_saving,
    draw_batch,
    make_model,
    same_answers,
    without_holes,
)
from eat.testing.subject import Arguments, Refused, Subject, subject_of
from eat.testing.tiny import pack
from eat.traces.record import record_trace
from eat.traces.replay import exit_head
from eat.traces.trace import RecordedTask

PRUNER = {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}
CLASSES = 3


def check_exit(
    exit: Any, arguments: Arguments | None = None, *, refused: Refused | None = None, trials: int = 20, seed: int = 0
) -> Checked:
    """Check that an exit criterion keeps what every criterion promises.

    These are: one boolean for each example, from its own logits alone, in any precision; nothing changed, nothing
    remembered; NaN never exits; sure answers do where it is active; a threshold per class is that of the predicted
    class; what it cannot read is refused; inside a model the same exits alone, in a batch and replayed from a trace,
    equal to the slow masked encoder, whatever the model predicts that it can read; saved and loaded by name.

    Args:
        exit: Its class, with ``arguments``; a function that builds one; an instance; or a name that the family knows.
        arguments: Of the constructor.
        refused: Values out of range by argument; wrong types are tried anyway.
        trials: Random batches; a quarter of them inside of whole models.
        seed: Of the first of them.

    Returns:
        What was checked, and how many near-ties there were.

    Raises:
        CheckFailedError: With what was checked, what was expected, what came, and the seed.
    """
    with subject_of("exit", EXITS, exit, arguments) as subject:
        checked = Checked(f"check_exit({subject.name})")
        criterion = subject.build()
        _check_protocol(checked, criterion)
        subject.check_refusals(checked, refused)
        _check_outputs(checked, subject, criterion)
        _check_sure_and_broken(checked, criterion)
        thresholds = isinstance(criterion, ThresholdExit) and criterion.needs_classes
        takes_them = {"threshold", "veto_margin"} <= set(inspect.signature(subject.family[subject.name]).parameters)
        if thresholds and not takes_them:
            checked.left_out.append("thresholds per class and the veto: give the class")
        for number in seeds(seed, trials):
            with checked.trial(number):
                _check_alone(checked, subject, number)
                if thresholds and takes_them:
                    _check_threshold(checked, subject, number)
        for labels in kinds_of(criterion):
            model = make_model(exit=subject.spec, pruner=PRUNER, **labels)
            for number in in_models(seed, trials):
                with checked.trial(number):
                    check_in_model(checked, model, number, masked=True)
                    check_in_float32(checked, model, number)
                    _check_replay(checked, model, number)
            check_saving(checked, model, "exit")
    return checked


def outputs_of(criterion: ExitCriterion) -> list[int]:
    """List numbers of outputs that it can read: 3 classes, 1 score, or both."""
    return [*([] if criterion.needs_score else [CLASSES]), *([] if criterion.needs_classes else [1])]


def kinds_of(criterion: ExitCriterion) -> list[dict[str, Any]]:
    """List the options of models that it can decide for: classes, a score, or labels with a sigmoid each."""
    kinds: list[dict[str, Any]] = [{"num_labels": num_labels} for num_labels in outputs_of(criterion)]
    per_class = isinstance(criterion, ThresholdExit) and isinstance(criterion.threshold, tuple)
    if not criterion.needs_score and not per_class:
        kinds.append({"num_labels": CLASSES, "problem_type": MULTI_LABEL})
    return kinds


def draw_history(outputs: int, seed: int) -> Tensor:
    """Draw the logits of 1 to 5 heads for 1 to 6 examples."""
    generator = torch.Generator().manual_seed(seed)
    heads, batch = (int(torch.randint(1, most, (), generator=generator)) for most in (6, 7))
    return 2 * torch.randn(heads, batch, outputs, generator=generator, dtype=torch.float64)


def sure(outputs: int) -> Tensor:
    """Return three heads that say the same with all confidence, of two examples."""
    return torch.tensor([50.0] + [-50.0] * (outputs - 1)).repeat(3, 2, 1)


def _check_protocol(checked: Checked, criterion: Any) -> None:
    missing = [name for name in ("active", "needs_classes", "needs_score", "__call__") if not hasattr(criterion, name)]
    fact = "it has what eat.exits.ExitCriterion asks for"
    checked.expect(isinstance(criterion, ExitCriterion), fact, "all of it", f"no {missing}")
    both = criterion.needs_classes and criterion.needs_score
    checked.expect(not both, "needs_classes and needs_score exclude each other", "one of them at most", "both")


def _check_outputs(checked: Checked, subject: Subject, criterion: ExitCriterion) -> None:
    for outputs in sorted({1, CLASSES} - set(outputs_of(criterion))):
        fact = f"a model with num_labels={outputs} is refused"
        try:
            check_outputs(criterion, outputs)
        except ValueError as error:
            checked.expect("exit.name" in str(error), fact, "a message that names exit.name", str(error))
        else:
            checked.fail(fact, "a ValueError", "no error")


def _check_sure_and_broken(checked: Checked, criterion: ExitCriterion) -> None:
    for outputs in outputs_of(criterion):
        history = sure(outputs)
        fact = "heads that say the same with all confidence let an example exit where `active` is True"
        checked.same(criterion(history).tolist(), [criterion.active] * 2, fact)
        for first in (len(history) - 1, 0):
            for classes in (list(range(outputs)), [0], [outputs - 1]):
                broken = history.clone()
                broken[first:, 0, classes] = math.nan
                got = criterion(broken).tolist()
                checked.same(got, [False, criterion.active], "an example whose last logits hold NaN never exits")


def _check_alone(checked: Checked, subject: Subject, seed: int) -> None:
    criterion = subject.build()
    for outputs in outputs_of(criterion):
        history = draw_history(outputs, seed)
        before, batch = history.clone(), history.shape[1]
        leave = criterion(history)
        form = f"torch.bool of shape {(batch,)}"
        checked.same(f"{leave.dtype} of shape {tuple(leave.shape)}", form, "it answers for each example")
        checked.same(history, before, "it only reads the logits")
        if not criterion.active:
            checked.expect(not bool(leave.any()), "where `active` is False none exits", "False", leave.tolist())
        for i in range(batch):
            checked.same(criterion(history[:, i : i + 1]), leave[i : i + 1], "an example alone exits as in its batch")
        order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
        checked.same(criterion(history[:, order]), leave[order], "the order of the examples does not matter")
        checked.same(criterion(history), leave, "it remembers nothing")
        checked.same(subject.build()(history), leave, "it is a function of its arguments")
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            got = criterion(history.to(dtype))
            checked.same(f"{got.dtype} of shape {tuple(got.shape)}", form, "it takes any precision")


def _check_threshold(checked: Checked, subject: Subject, seed: int) -> None:
    """Check what ThresholdExit gives to every criterion: thresholds per class, and the veto."""
    family, name, history = subject.family, subject.name, draw_history(CLASSES, seed)
    thresholds = np.random.default_rng(seed).choice([0.1, 0.3, 0.5, 0.7, 0.9], CLASSES).tolist()
    each = [family[name](**{**subject.arguments, "threshold": threshold})(history) for threshold in thresholds]
    per_class = family[name](**{**subject.arguments, "threshold": thresholds})(history)
    expected = [bool(each[predicted][i]) for i, predicted in enumerate(history[-1].argmax(-1).tolist())]
    checked.same(per_class.tolist(), expected, "a threshold per class is that of the predicted class")
    plain = {key: value for key, value in subject.arguments.items() if key != "veto_margin"}
    free, top = family[name](**plain)(history), history[-1].softmax(-1).sort(-1).values
    for veto in (0.0, 0.2, 0.5, 1.0):
        vetoed = family[name](**plain, veto_margin=veto)(history)
        for i, predictions in enumerate(history.argmax(-1).T.tolist()):
            agree = len(predictions) > 1 and len(set(predictions)) == 1
            allowed = bool(free[i]) and (agree or bool(top[i, -1] - top[i, -2] >= veto))
            fact = "a veto keeps those of a low margin whose heads differ, and no others"
            checked.same(bool(vetoed[i]), allowed, fact)


def _check_replay(checked: Checked, model: AdaptiveForSequenceClassification, seed: int) -> None:
    """Expect that a trace gives the exits, the answers and the counts of the live model."""
    ids, mask, types = without_holes(model, draw_batch(model, seed))
    live = answer(model, (ids, mask, types))
    outputs, shape = model.config.num_outputs, [len(ids)]
    kind: TaskKind = "regression" if outputs == 1 else "classification"
    if model.config.multi_label:
        kind, shape = "multi_label", [*shape, outputs]
    examples = {"labels": torch.zeros(shape), "example": torch.arange(len(ids))}
    task = RecordedTask("check", kind, (), (), outputs)
    batches, facts = [pack(ids, mask, types) | examples], {"split": "check", "config": model.config.to_dict()}
    trace = record_trace(model, batches, task, metadata=facts)
    heads = exit_head(trace, model.exit_criterion)
    depths = np.asarray(trace.head_depths)[heads]
    kept = np.where(np.arange(trace.tokens_kept.shape[1]) < depths[:, None], trace.tokens_kept, 0)
    logits = torch.from_numpy(trace.all_logits[np.arange(len(trace)), heads])
    replayed = AdaptiveOutput(logits=logits, exit_depth=torch.from_numpy(depths), tokens_kept=torch.from_numpy(kept))
    same_answers(checked, live, replayed, range(len(ids)), "a replay of a trace equals the live model")
