"""Kind ``calls``: a model that is called wrongly says so in one line; what it answers is the right answer.

An input is one call with one argument changed: its type, its shape, its values, or what goes with it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from eat.models.sharing import all_off
from tests.reference.tiny import VOCABULARY, batch_of, pack
from tests.reliability.campaign import Case
from tests.reliability.near_ties import size_of
from tests.reliability.random_models import Model, make_model
from tests.reliability.refusals import REFUSED, attempt

Change = Callable[[random.Random, Any], Any]

SAME: dict[str, Change] = {  # the same values in another form: the same answer, or a refusal
    "a list": lambda draw, values: values.tolist(),
    "a NumPy array": lambda draw, values: values.numpy(),
    "int32": lambda draw, values: values.int(),
    "uint8": lambda draw, values: values.to(torch.uint8),
    "a float": lambda draw, values: values.float(),
    "a float64": lambda draw, values: values.double(),
    "a column": lambda draw, values: values.unsqueeze(-1) if values.ndim == 1 else values,
    "a view": lambda draw, values: values.clone().repeat_interleave(2, 0)[::2],
    "with gradient": lambda draw, values: values.float().requires_grad_(),
}
WRONG: dict[str, Change] = {  # a refusal
    "one dimension more": lambda draw, values: values.unsqueeze(draw.choice([0, -1])).unsqueeze(0),
    "cut": lambda draw, values: values[..., :-1] if values.ndim > 1 else values[:-1],
    "empty": lambda draw, values: values[:0],
    "negative": lambda draw, values: values - 10_000,
    "huge": lambda draw, values: values + draw.choice([10_000, 2**40]),
    "text": lambda draw, values: "input",
    "a number": lambda draw, values: 3,
    "complex": lambda draw, values: values.to(torch.complex64),
    "NaN": lambda draw, values: values.float() * float("nan"),
    "None in a list": lambda draw, values: [None, *values.tolist()],
}
NOT_WRONG = {
    ("huge", "attention_mask"),
    ("negative", "attention_mask"),
    ("NaN", "attention_mask"),
    ("complex", "attention_mask"),
}  # not 0: attended
WHOLE = ("int32", "uint8")
SCORES = ("negative", "huge")  # numbers like any others where they are a regression's labels


@functools.lru_cache(maxsize=2)
def plain_model(number: int) -> Model:
    """Return a model with everything off, in a precision that promises equal answers."""
    model = make_model(number)
    return all_off(model if size_of(model) else make_model(0))


@torch.inference_mode()
def check_call(case: Case) -> None:
    """Change one argument of a good call."""
    draw, model = case.random, plain_model(case.seed // 1000)
    ids, mask, types = batch_of([draw.randint(2, 12) for _ in range(draw.randint(1, 6))], seed=case.seed)
    types = types if model.backbone.num_types > 1 else torch.zeros_like(types)
    arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    if draw.random() < 0.3:
        arguments = pack(ids, mask, types)
    count = len(ids)
    regression = model.config.num_outputs == 1
    labels = torch.rand(count) if regression else torch.randint(0, model.config.num_outputs, (count,))
    if model.config.multi_label:
        labels = torch.randint(0, 2, (count, model.config.num_outputs))
    arguments |= {"labels": labels} if draw.random() < 0.4 else {}
    name = draw.choice(list(arguments))
    kind, (how, change) = draw.choice([("same", s) for s in SAME.items()] + [("wrong", w) for w in WRONG.items()])
    if name == "labels" and regression and how in WHOLE:
        return  # which would change their values
    expected = model(**arguments)
    try:
        changed = change(draw, arguments[name])
    except (RuntimeError, TypeError):
        return
    case.count(inputs=1, **{kind: 1})
    names = [name, "input_ids", "lengths"] if name != "labels" else ["labels"]
    got = attempt(case, lambda: model(**arguments | {name: changed}), names, f"{name} as {how}")
    if got is REFUSED:
        case.count(refused=1)
        return
    ignored = name == "token_type_ids" and not model.backbone.num_types
    if (
        kind == "wrong"
        and (how, name) not in NOT_WRONG
        and not ignored
        and not (name == "labels" and regression and how in SCORES)
    ):
        case.fail(f"{name}: {how} was taken", f"{str(changed)[:60]}, logits {str(got.logits[0])[:80]}")
    elif kind == "same" and not _equal(got, expected):
        case.fail(f"{name}: as {how} another answer", f"{name}={str(changed)[:100]}")


def _equal(got: Any, expected: Any) -> bool:
    pairs = [(got.logits, expected.logits), *([(got.loss, expected.loss)] if expected.loss is not None else [])]
    return all(torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-5) for a, b in pairs)


@torch.inference_mode()
def check_stream_call(case: Case) -> None:
    """Put one bad example into a stream: it is named, and nothing else happens."""
    draw, model = case.random, plain_model(0)
    good = [{"input_ids": [2, *(draw.randint(5, VOCABULARY - 1) for _ in range(5))]} for _ in range(3)]
    bad = draw.choice(
        [
            *(
                {"input_ids": v}
                for v in ([], None, "text", 5, [[2, 3]], [2, -1], [2, 10**9], [2, 0.5], [2, None], ["2"])
            ),
            *(
                {"input_ids": v}
                for v in (np.zeros((2, 2)), np.array([2, 3.5]), torch.zeros(0), torch.rand(3), [2] * 999)
            ),
            *({"input_ids": [2, 3], key: [0]} for key in ("attention_mask", "token_type_ids")),
            *({"input_ids": [2, 3], "attention_mask": v} for v in ([1, 0], 3, "11", None, [[1, 1]])),
            *({"input_ids": [2, 3], "token_type_ids": v} for v in ([0, 9], [0, -1], 0, "00", [[0, 0]], [0, None])),
            *({}, [], None, "text", 3, [2, 3], {"ids": [2]}),
        ]
    )
    place = draw.randint(0, 3)
    examples = [*good[:place], bad, *good[place:]]
    case.count(inputs=1)
    size = draw.choice([1, 2, 8, 0, -1, 1.5, "x", None, True]) if draw.random() < 0.2 else 2
    names = [f"examples[{place}]", "batch_size"]
    key = sorted(bad) if isinstance(bad, dict) else type(bad).__name__
    attempt(case, lambda: list(model.predict_stream(examples, batch_size=size)), names, f"an example with {key}")


def check_any_call(case: Case) -> None:
    """Call the model, or its stream."""
    (check_stream_call if case.seed % 4 == 0 else check_call)(case)
