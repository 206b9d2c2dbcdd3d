"""Check a compression."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.testing.checked import EXACT, Checked, in_models
from eat.testing.models import Inputs, answer, check_in_model, check_saving, draw_batch, make_model
from eat.testing.subject import Arguments, Refused, Subject, subject_of
from eat.testing.tiny import types_for
from eat.training.compression import COMPRESSIONS, Compression

TOTAL_STEPS, LEARNING_RATE = 6, 1e-2
PRUNER = {"name": "l2_norm", "depths": [1], "ratio": 0.3}
ROUNDED = 1e-3
"""What int8 logits are held to: a value next to a border may fall on either side of it."""


def check_compression(
    compression: Any,
    arguments: Arguments | None = None,
    *,
    refused: Refused | None = None,
    trials: int = 20,
    seed: int = 0,
) -> Checked:
    """Check that a compression keeps what every compression promises.

    These are: it ends with the training at the latest; a step sets the same whatever came before it, and a checkpoint's
    weights with the step are all of its state; gradients and what it adds to the loss are finite; the finished model is
    a plain one, which answers as validations of the last steps saw it, alone as in any batch, and is saved and loaded;
    built by name.

    Args:
        compression: Its class, with ``arguments``; a function that builds one; an instance; or a name that the family
            knows.
        arguments: Of the constructor.
        refused: Values out of range by argument; wrong types are tried anyway.
        trials: Random trainings of some steps; a quarter of them is made.
        seed: Of the first of them.

    Returns:
        What was checked.

    Raises:
        CheckFailedError: With what was checked, what was expected, what came, and the seed.
    """
    with subject_of("compression", COMPRESSIONS, compression, arguments) as subject:
        checked = Checked(f"check_compression({subject.name})")
        built = subject.build()
        _check_protocol(checked, built)
        subject.check_refusals(checked, refused)
        ends = [built.end_step(total) for total in (1, TOTAL_STEPS, 1000)]
        within = all(0 <= end <= total for end, total in zip(ends, (1, TOTAL_STEPS, 1000), strict=True))
        checked.expect(within, "it ends with the training at the latest", "a step from 0 to the last", ends)
        for number in in_models(seed, trials):
            with checked.trial(number):
                _check_training(checked, subject, number)
    return checked


def _check_protocol(checked: Checked, compression: Any) -> None:
    names = ("int8", "attach", "end_step", "update", "penalty", "finish")
    missing = [name for name in names if not hasattr(compression, name)]
    fact = "it has what eat.training.compression.Compression asks for"
    checked.expect(isinstance(compression, Compression), fact, "all of it", f"no {missing}")


def _check_training(checked: Checked, subject: Subject, seed: int) -> None:
    """Train some steps, and check the state at the end and what is made of it."""
    compression = subject.build()
    model = _attached(compression, seed)
    inputs = draw_batch(model, seed)
    steps = max(1, compression.end_step(TOTAL_STEPS))
    for step in range(steps):
        compression.update(model, step, TOTAL_STEPS)
        _take_step(checked, compression, model, inputs)
    compression.update(model.eval(), TOTAL_STEPS, TOTAL_STEPS)
    seen = _logits(model, inputs)
    compression.update(model, 0, TOTAL_STEPS)
    compression.update(model, TOTAL_STEPS, TOTAL_STEPS)
    checked.same(_logits(model, inputs), seen, "a step sets the same whatever came before it")
    again = _attached(subject.build(), seed)
    again.load_state_dict(model.state_dict())
    compression.update(again.eval(), TOTAL_STEPS, TOTAL_STEPS)
    checked.same(_logits(again, inputs), seen, "weights of a checkpoint and the step are all of its state")
    _check_finished(checked, compression, compression.finish(model), inputs, seen, seed)


def _check_finished(
    checked: Checked,
    compression: Compression,
    finished: AdaptiveForSequenceClassification,
    inputs: Inputs,
    seen: Tensor,
    seed: int,
) -> None:
    finished.eval()
    left = [name for name, module in finished.named_modules() if parametrize.is_parametrized(module)]
    checked.same(left, [], "nothing of it is left in a finished model")
    blank = AdaptiveForSequenceClassification(copy.deepcopy(finished.config)).state_dict()
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in (finished.state_dict(), blank)]
    checked.same(shapes[0], shapes[1], "a finished model has the weights that its configuration says")
    served = finished.quantize(anyway=True) if compression.int8 else finished
    fact = "a finished model answers as validations of the last steps saw it"
    checked.same(_logits(served, inputs), seen, fact, ROUNDED if compression.int8 else EXACT)
    finished = finished.double()
    check_in_model(checked, finished, seed, masked=True)
    check_saving(checked, finished, "backbone")


def _attached(compression: Compression, seed: int) -> AdaptiveForSequenceClassification:
    """Build a tiny model, prepared for its training: in float64, or as it will be quantised."""
    model = make_model(seed) if compression.int8 else make_model(seed, pruner=PRUNER)
    model = model.float() if compression.int8 else model
    compression.attach(model)
    return model


def _take_step(
    checked: Checked, compression: Compression, model: AdaptiveForSequenceClassification, inputs: Inputs
) -> None:
    ids, mask, types = inputs
    labels = torch.arange(len(ids)) % model.config.num_outputs
    model.train().zero_grad()
    loss = model(ids, mask, types_for(model, types), labels=labels).loss
    penalty = compression.penalty(model)
    if penalty is not None:
        checked.same(tuple(penalty.shape), (), "what it adds to the loss is one number")
        added = penalty.item()
        checked.expect(0 <= added < math.inf, "what it adds to the loss is 0 or more", "a finite number", added)
        loss = loss + penalty
    loss.backward()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                checked.expect(bool(parameter.grad.isfinite().all()), "gradients are finite", "finite numbers", name)
                parameter.sub_(LEARNING_RATE * parameter.grad)


def _logits(model: AdaptiveForSequenceClassification, inputs: Inputs) -> Tensor:
    """Return what every head says."""
    logits = answer(model, inputs, trace=True).all_logits
    assert logits is not None
    return logits
