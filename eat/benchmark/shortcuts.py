"""Static shortcuts: the first n layers and a head there, for every sequence. Early exits must beat them.

A run trained with ``backbone.num_layers=n`` has a head trained for it. Without one, the early heads of the model
itself give shortcuts of the same cost.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eat.benchmark.results import ShortcutFacts
from eat.exits.points import FULL_DEPTH
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import pooling_at
from eat.models.sharing import all_off
from eat.modules.heads import Heads
from eat.runs.finished import FinishedRun
from eat.traces.quality import measure_point
from eat.traces.run_traces import RunTraces, need_current
from eat.traces.trace import Trace


@dataclasses.dataclass(frozen=True, eq=False)
class Shortcut:
    """A shallower model with everything off."""

    name: str
    model: AdaptiveForSequenceClassification
    trace: Trace  # what it answers on the main split, at its one head
    run: str | None  # name of the run that it was trained in; None where it is the model's own first layers

    def facts(self, traces: RunTraces) -> ShortcutFacts:
        """Return what a benchmark's file keeps of it."""
        point = measure_point(self.trace, FULL_DEPTH, traces.reported.full_depth)
        dense = float(traces.all_off[traces.main].costs.dense.mean())
        delta = point.delta
        return ShortcutFacts(
            num_layers=self.trace.num_layers,
            run=self.run,
            metrics=point.metrics,
            delta=None if delta is None else (delta.points, delta.low, delta.high),
            ece=point.ece,
            gflops=point.gflops,
            flops_ratio=point.gflops * 1e9 / dense,
        )


def find_shortcuts(
    model: AdaptiveForSequenceClassification, traces: RunTraces, runs: Sequence[str | Path], device: str
) -> list[Shortcut]:
    """List the shortcuts of a model: runs trained with ``backbone.num_layers``, then its own early heads.

    Raises:
        ValueError: If a run is not shallower than the model, answered other examples, or its traces are not its
            weights'; or two have the same number of layers.
    """
    trained = [trained_shortcut(FinishedRun(run), model, traces, device) for run in runs]
    names = [shortcut.name for shortcut in trained]
    if len(set(names)) != len(names):
        raise ValueError(f"benchmark.shortcut_runs: expected runs of different numbers of layers, got {names}")
    dense = traces.all_off[traces.main]
    own = [
        Shortcut(f"first_{n}_layers", truncated(model, n), truncated_trace(dense, n), None)
        for n in model.head_depths[:-1]
    ]
    return trained + own


def trained_shortcut(
    run: FinishedRun, model: AdaptiveForSequenceClassification, traces: RunTraces, device: str
) -> Shortcut:
    """Load a run that was trained shallow."""
    shallow = run.load_model(device, certified=False)
    if shallow.num_layers >= model.num_layers:
        raise ValueError(
            f"benchmark.shortcut_runs: expected runs with fewer layers than the model's {model.num_layers}, "
            f"got {run.name} with {shallow.num_layers}; train it with backbone.num_layers=n"
        )
    argument = "benchmark.shortcut_runs"
    trace = need_current(run, argument).same_examples(traces.main, traces.reported, argument, all_off=True)
    last = truncated_trace(trace, trace.num_layers)
    return Shortcut(f"static_{shallow.num_layers}_layers", all_off(shallow), last, run.name)


def truncated(model: AdaptiveForSequenceClassification, depth: int) -> AdaptiveForSequenceClassification:
    """Return the first layers of a model with the head there and everything off; weights are shared."""
    if depth not in model.head_depths:
        raise ValueError(f"depth: expected one with a head, {list(model.head_depths)}, got {depth}")
    twin = all_off(model)
    config, encoder = twin.config, twin.encoder
    config.backbone = {**(config.backbone or {}), "num_layers": depth}
    config.heads = _only_head(config.heads or {}, depth)
    config.check()
    twin.backbone = dataclasses.replace(twin.backbone, num_layers=depth)
    encoder.blocks = encoder.blocks[:depth]
    encoder.heads = Heads({depth: encoder.heads[str(depth)]})
    encoder.head_depths = (depth,)
    return twin


def truncated_trace(trace: Trace, depth: int) -> Trace:
    """Return what `truncated` answers, from the trace of the encoder with everything off."""
    if depth not in trace.head_depths:
        raise ValueError(f"depth: expected one with a head, {list(trace.head_depths)}, got {depth}")
    head = trace.head_depths.index(depth)
    kept = np.array(trace.tokens_kept[:, : depth + 1])
    kept[:, -1] = 0
    config = dict(trace.config)
    config["backbone"] = {**config["backbone"], "num_layers": depth}
    config["heads"] = _only_head(config["heads"], depth)
    return dataclasses.replace(
        trace,
        all_logits=trace.all_logits[:, head : head + 1],
        tokens_kept=kept,
        head_depths=(depth,),
        metadata={**trace.metadata, "config": config},
    )


def _only_head(heads: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return ``config.heads`` of a model whose one head is that at a depth, which reads what it did, as warm."""
    only = {"depths": [depth], "pooling": pooling_at(heads, depth)}
    if "temperatures" in heads:
        only["temperatures"] = [heads["temperatures"][list(heads["depths"]).index(depth)]]
    return only
