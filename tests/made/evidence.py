"""What figures read of a run, of tiny random models on made-up texts."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from eat.backbones.tiny import tiny_config
from eat.evaluation.report.table import Row, make_row
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.results.figures.evidence import Evidence
from eat.results.figures.suite import Suite
from eat.results.group import Block
from eat.traces.record import record_trace
from eat.traces.run_traces import RunTraces
from eat.traces.trace import Trace
from tests.made.models import TASK, make_batches, make_model

OFF = {"pruner": {"name": "none"}, "attention": {"name": "full"}}
PRUNED = {"pruner": {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}, "attention": {"name": "full"}}
POINT = {"name": "confidence", "threshold": 0.6}


def make_evidence(kind: str = "adaptive", *, seed: int = 0, experiment: str | None = None, **more: Any) -> Evidence:
    """Make a run: "adaptive" (4 layers, pruned, heads at 1, 2, 3 and 4), "dense" (4 layers), or "static" (2 layers)."""
    off = make_off(kind, seed)
    traces = {"validation": make_pruned(seed) if kind == "adaptive" else off}
    if kind == "adaptive":
        traces["validation.all_off"] = off
    name = experiment or f"ablation/{kind}"
    config = {
        "task": {"name": "made_up"},
        "backbone": {"name": "tiny", "num_layers": 2 if kind == "static" else 4},
        "budget": {"name": "smoke"},
        "pruner": {"name": "l2_norm" if kind == "adaptive" else "none"},
        "experiment": name,
        "seed": seed,
    }
    given = {"name": f"tiny-{kind}-smoke-seed{seed}-0123abcd", "point": OperatingPoint.of(POINT)} | more
    return Evidence(config=config | given.pop("config", {}), traces=RunTraces.of(name, traces), **given)


def make_suite(experiments: Mapping[str, Sequence[Evidence]], **block: str) -> Suite:
    """Make a suite of such runs."""
    named = {"task": "made_up", "split": "validation", "data": "complete", "rows": "100 rows"}
    return Suite(Block(**named | {"budget": "smoke", "holdout": "small", "backbone": "tiny"} | block), experiments)


@functools.cache
def make_off(kind: str, seed: int) -> Trace:
    """Trace a model with everything off."""
    if kind == "adaptive":
        return _trace(make_model(seed=seed, **OFF))
    config = tiny_config(num_layers=2 if kind == "static" else 4)
    options: dict[str, Any] = {"num_labels": 2, "head_depths": [], "seed": seed, **OFF}
    return _trace(AdaptiveForSequenceClassification.from_backbone(config, **options).eval())


@functools.cache
def make_pruned(seed: int) -> Trace:
    """Trace the same model with pruning."""
    return _trace(make_model(seed=seed, **PRUNED))


def _trace(model: AdaptiveForSequenceClassification) -> Trace:
    metadata = {"split": "validation", "reported": True, "data": "complete", "config": model.config.to_dict()}
    return record_trace(model, make_batches(), TASK, metadata=metadata)


def timed_row(model: str, engine: str, ms: float, value: float, **more: Any) -> Row:
    """Make a row of frontier.csv that was timed at batch size 1."""
    facts = {"batch_size": 1, "threads": 1, "device": "cpu", "exit": "never", "examples_per_s": 1e3 / ms}
    return make_row(**({"model": model, "engine": engine, "value": value, "num_layers": 4} | facts | more))
