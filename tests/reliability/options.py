"""Kinds ``options`` and ``settings``: what is legal is taken, what is not is refused in one line that names it.

An input is one set of options. What is taken shows in what is built. Values of foreign types (NumPy's, torch's) may be
taken or refused, but what is taken must be writable as JSON and read back as the same part.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from eat.attention import build_attention
from eat.backbones import build_backbone
from eat.backbones.tiny import tiny_config
from eat.deployment.export import ExportSettings
from eat.deployment.prediction.settings import PredictSettings
from eat.evaluation.queries import QuerySettings, Served
from eat.evaluation.run import check_options
from eat.evaluation.stages import STAGES, build_settings
from eat.exits import build_exit
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import AdaptiveConfig
from eat.models.rules import SufficientRule
from eat.pruners import build_pruner
from eat.registry import build_part
from eat.results.command import TableSettings
from eat.search.settings import SearchSettings
from eat.suite import SuiteSettings
from eat.training.checkpoints import RunCheckpoints
from eat.training.compression import build_compression
from eat.training.objectives import OBJECTIVES
from eat.training.schedule import PruningSchedule
from tests.reliability.campaign import Case
from tests.reliability.refusals import REFUSED, attempt
from tests.reliability.values import ANYTHING, PLAIN, Argument, foreign, number, one_of, several

UNIT = number(0, 1, -0.1, 1.1, 2)
THRESHOLD = Argument(lambda draw: UNIT.legal(draw), UNIT.illegal)
VETO = number(0, 1, -0.1, 1.1, optional=True)
PATIENCE = number(1, 4, 0, -1, whole=True)
RATIO = number(0, 0.99, 1, 1.0, -0.01, [1.0, 2.0])
RANKED = {
    "depths": several(number(1, 3, 0, -1, whole=True), least=1, ascending=True),
    "ratio": RATIO,
    "min_tokens": number(0, 5, -1, whole=True),
    "min_retention": UNIT,
}
SIZE = number(1, 64, 0, -3, whole=True)
SHARE = number(0.01, 1, 0, 1.1, -0.5)
GRADUAL = {"start": number(0, 0.4, -0.1, 1.1), "end": number(0.5, 1, -0.1, 1.1)}
SCORED = GRADUAL | {"score_lr": number(0, 9, -0.1)}
WEIGHT = number(0, 3, -0.5)
JOINT = dict.fromkeys(("early_weight", "final_weight", "self_weight", "teacher_weight"), WEIGHT)

FAMILIES: dict[str, tuple[Callable[[Any], Any], dict[str, dict[str, Argument]]]] = {
    "pruner": (
        build_pruner,
        {
            "none": {},
            "l2_norm": RANKED,
            "attention_received": RANKED,
            "random": RANKED | {"seed": number(-9, 9, whole=True)},
        },
    ),
    "exit": (
        build_exit,
        {
            "never": {},
            **{name: {"threshold": THRESHOLD, "veto_margin": VETO} for name in ("confidence", "margin", "entropy")},
            **{name: {"threshold": THRESHOLD, "veto_margin": VETO} for name in ("entropy_reduction", "agreement")},
            "patience": {"patience": PATIENCE, "veto_margin": VETO},
            "patience_confidence": {"patience": PATIENCE, "threshold": THRESHOLD, "veto_margin": VETO},
            "difference": {"patience": PATIENCE, "threshold": number(0, 9, -0.1)},
        },
    ),
    "attention": (
        build_attention,
        {
            "full": {},
            "windowed": {
                "window": Argument(lambda draw: 2 * draw.randint(1, 64), [0, 1, 3, -2, 2.0, "4", None, True, [2]]),
                "global_tokens": Argument(
                    lambda draw: draw.choice([["cls"], ["cls", "sep"]]),
                    [[], "cls", ["sep"], ["cls", "x"], None, 3, [1]],
                ),
            },
        },
    ),
    "backbone": (
        build_backbone,
        {
            name: {
                **dict.fromkeys(("vocab_size", "num_layers", "intermediate_size", "max_length"), SIZE),
                "dim": Argument(lambda draw: 4 * draw.randint(1, 9), [0, -4, "4", 2.5, None, True, []]),
                "num_heads": Argument(lambda draw: draw.choice([1, 2, 4]), [0, -1, "1", 1.5, None, True]),
                "dropout": number(0, 0.9, -0.1, 1.5),
                "attention_dropout": number(0, 0.9, -0.1, 1.5),
                "head_dropout": number(0, 0.9, -0.1, 1.5),
                "norm_eps": number(1e-12, 1e-3, -1.0),
                "num_types": number(0, 3, -1, whole=True),
                "activation": one_of("gelu", "relu", "silu"),
                "pad_token_id": number(*((1, 1) if name in ("roberta", "xlm-roberta") else (0, 0)), -1, whole=True),
                "initializer_range": number(0.01, 0.1, -1.0),
                "feed_forward": one_of("dense", "learn_forget"),
            }
            for name in ("bert", "distilbert", "roberta", "electra", "xlm-roberta")
        },
    ),
    "compression": (
        build_compression,
        {
            "none": {},
            "magnitude": GRADUAL | {"keep": SHARE},
            "movement": SCORED | {"keep": SHARE},
            "soft_movement": SCORED | {"threshold": number(0.01, 0.49, 0, 0.5), "penalty_weight": number(0, 900, -1)},
            "structured": SCORED | {"heads": SHARE, "neurons": SHARE, "multiple": SIZE},
            "quantized": {
                "activation_bits": Argument(lambda draw: draw.choice([7, 8]), [0, 6, 9, "8", 8.0, None, True, [8]]),
                "start": UNIT,
            },
            "binarized": {
                "embeddings": Argument(lambda draw: draw.random() < 0.5, [0, 1, "true", None, [], 0.5]),
            },
        },
    ),
    "objective": (
        lambda spec: build_part("objective", OBJECTIVES, spec),
        {"joint": JOINT | {"teacher": Argument(lambda draw: None, []), "temperature": number(0.1, 9, 0, -1.0)}},
    ),
}
REQUIRED = {
    "backbone": ("vocab_size", "dim", "num_layers", "num_heads", "intermediate_size", "pad_token_id"),
    "objective": tuple(JOINT),
}


def check_part(case: Case) -> None:
    """Draw a part's options, most of them legal, and build it."""
    draw = case.random
    family = draw.choice(list(FAMILIES))
    build, members = FAMILIES[family]
    name = draw.choice(list(members))
    arguments = members[name]
    needed = {*REQUIRED.get(family, ()), *(("teacher", "temperature") if family == "objective" else ())}
    needed |= {*arguments} if family == "compression" else set()  # whose values all come from its YAML
    spec = {"name": name} | {key: a.legal(draw) for key, a in arguments.items() if key in needed or draw.random() < 0.6}
    if isinstance(spec.get("ratio"), list) and len(spec["ratio"]) != len(spec.get("depths", (2, 4))):
        spec["ratio"] = 0.3
    how, changed = _change(draw, family, spec, arguments)
    case.count(inputs=1, **{how: 1})
    built = attempt(case, lambda: build(spec), _names(family, changed), f"{family}.{changed or '*'}")
    shown = f"{changed or spec}={spec.get(changed)!r}"[:200] if changed else str(spec)[:200]
    if how == "legal" and built is REFUSED:
        case.fail(f"{family}: legal options were refused", shown)
    if how in ("illegal", "unknown") and built is not REFUSED:
        case.fail(f"{family}.{changed} was taken though it is {how}", shown)
    if how == "legal" and built is not REFUSED:
        for key in hidden(built, spec):
            case.fail(f"{family}.{key} does not show in what is built", shown)
    if built is not REFUSED and family in ("exit", "pruner", "attention"):
        _check_configured(case, family, spec, how)


def hidden(built: Any, spec: Mapping[str, Any]) -> list[str]:
    """Return the options whose value is not what a built part has under their name."""
    given = {key: value for key, value in spec.items() if key != "name"}
    return [key for key, value in given.items() if _listed(getattr(built, key, object())) != _listed(value)]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _change(
    draw: random.Random, family: str, spec: dict[str, Any], arguments: Mapping[str, Argument]
) -> tuple[str, str | None]:
    """Change one option, or none; return how, and which."""
    how = draw.choice(["legal", "illegal", "foreign", "unknown", "anything"])
    changed: str | None = None
    if how == "unknown":
        changed = draw.choice(["nmae", "treshold", "ratio_", "", "0", "self", "kwargs", "__class__"])
        spec[changed] = draw.choice(ANYTHING)
    elif how != "legal" and arguments:
        changed = draw.choice(list(arguments))
        legal = arguments[changed].legal(draw)
        if how == "illegal" and arguments[changed].illegal:
            spec[changed] = draw.choice(arguments[changed].illegal)
        elif how == "foreign" and legal is not None:
            try:
                spec[changed] = foreign(draw, legal)
            except (TypeError, ValueError, ArithmeticError):
                return "legal", None
        elif how == "anything":
            spec[changed] = draw.choice(ANYTHING)
        else:
            return "legal", None
    elif how != "legal":
        changed, spec["name"] = "name", draw.choice([*ANYTHING[:20], spec["name"].upper(), "builtins.eval"])
        how = "illegal"
    return how, changed


def _names(family: str, changed: str | None) -> list[str]:
    return [f"{family}.{changed}", f"{family}:", *([changed] if changed else [family])]


@functools.cache
def _model(num_labels: int) -> AdaptiveForSequenceClassification:
    config = tiny_config(vocab_size=9, dim=4, num_layers=4, num_heads=1, intermediate_size=4)
    return AdaptiveForSequenceClassification.from_backbone(
        config, num_labels=num_labels, head_depths="all", sep_token_id=3
    )


def _check_configured(case: Case, family: str, spec: Mapping[str, Any], how: str) -> None:
    """What was taken also suits a model, and comes back from its saved configuration as the same part."""
    model = _model(1 if spec["name"] == "difference" else 3)
    names = [f"{family}.", "attention.global_tokens"]
    if attempt(case, lambda: getattr(model, f"set_{family}")(**spec), names, f"a model's {family}") is REFUSED:
        return
    try:
        again = AdaptiveConfig.from_dict(json.loads(model.config.to_json_string()))
    except Exception as error:
        case.fail(f"{family}: a model with it cannot be saved ({how})", f"{spec}: {error}")
        return
    finally:
        getattr(model, f"set_{family}")(name={"attention": "full", "pruner": "none", "exit": "never"}[family])
    if attempt(case, again.check, names, f"saved configuration with {family}") is REFUSED:
        case.fail(f"{family}: a saved configuration does not pass its own check ({how})", spec)
    if family == "exit" and how == "legal":
        point = OperatingPoint.of(spec)
        if OperatingPoint.of(point.spec) != point or hash(OperatingPoint.of(point.spec)) != hash(point):
            case.fail("an operating point is not equal to itself read back", point)


RULE = {"depth": 1, "place": "block", "pooling": "cls", "label": 0, "weight": [1.0], "threshold": 0.5}
RULE |= {"bound": 0.01, "exit_bound": 0.02}
OTHERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "schedule": (PruningSchedule, {"warmup_epochs": 1, "anneal_epochs": 1}),
    "callbacks.checkpoints": (RunCheckpoints, {"every_n_steps": 1}),
    "suite": (SuiteSettings, {}),
    "predict": (PredictSettings, {}),
    "export": (ExportSettings, {}),
    "queries": (QuerySettings, {}),
    "search": (SearchSettings, {"name": "x", "space": {}}),
    "tables": (TableSettings, {}),
    "rules": (lambda **values: SufficientRule.of(values), RULE),
    "candidates": (lambda **values: Served.of("one", values), {"run": "nowhere", "engine": None, "exit": None}),
}
"""Further settings: what builds them, and values of which one is changed, beside those of its own arguments."""


def check_settings(case: Case) -> None:
    """Draw settings of any type, of a stage or a command, and build them."""
    draw = case.random
    case.count(inputs=1)
    kind = draw.choice(["stage", "stage", "stage", "options", *OTHERS])
    if kind == "stage":
        stage = draw.choice(list(STAGES))
        fields = [field.name for field in dataclasses.fields(STAGES[stage].Settings)]
        base = {"plan": {"speedup": 2.0}, "certify": {"max_drop": 0.01}}.get(stage, {})
        changed = draw.choice(fields) if fields else "nothing"
        values = base | ({changed: draw.choice(PLAIN)} if fields else {})
        what, names = f"{stage}.{changed}", [f"{stage}.{changed}", f"{stage}:", changed]
        attempt(case, lambda: build_settings(stage, values), names, what)
    elif kind == "options":
        changed = draw.choice(["stages", "thresholds", "device", "fresh", "compile", "baseline_run", "engine", *STAGES])
        value = draw.choice(PLAIN)
        attempt(case, lambda: check_options(**{changed: value}), [changed], f"evaluation {changed}")
    else:
        build, values = OTHERS[kind]
        changed = draw.choice([*values] or [*inspect.signature(build).parameters])
        value = draw.choice(PLAIN)
        names = [changed, changed.replace("_", " "), f"{kind}."]
        built = attempt(case, lambda: build(**values | {changed: value}), names, f"{kind} {changed}")
        if built is not REFUSED and value == value and hidden(built, {changed: value}):
            case.fail(f"{kind}.{changed} does not show in what is built", repr(value))
