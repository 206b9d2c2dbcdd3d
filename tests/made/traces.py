"""Traces of a made-up population, whose early heads see the label through noise."""

from typing import Any

import numpy as np

from eat.traces.run_traces import RunTraces
from eat.traces.trace import Trace
from tests.made.models import TASK, make_model

CONFIG = make_model().config.to_dict()


def make_trace(n: int, split: str, seed: int, noise: float = 0.8, kept: int = 10) -> Trace:
    """Heads at 1, 2 and 3 of 3 that see the label through less and less noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, size=n)
    seen = (2 * labels - 1) * 2.0 + generator.normal(size=n)
    heads = [seen + noise * scale * generator.normal(size=n) for scale in (2.0, 1.0, 0.0)]
    tokens = np.full((n, 4), kept)
    tokens[:, 0] = generator.integers(10, 20, size=n)
    tokens[:, 3] = 0
    metadata = {"split": split, "config": CONFIG, "reported": split == "validation"}
    return Trace(
        labels, np.stack([np.stack([-h, h], axis=1) for h in heads], axis=1), tokens, (1, 2, 3), TASK, metadata
    )


def make_run(certification: int = 1500, **options: Any) -> dict[str, Trace]:
    sizes = {"threshold": 400, "certification": certification, "validation": 500}
    return {split: make_trace(n, split, seed, **options) for seed, (split, n) in enumerate(sizes.items())}


def as_runs(**runs: dict[str, Trace]) -> dict[str, RunTraces]:
    """Sort the traces of runs by role, as `read_traces` does."""
    return {name: RunTraces.of(name, traces) for name, traces in runs.items()}


def trace_of(all_logits: Any, labels: Any, head_depths: tuple[int, ...], tokens_kept: Any = None, **more: Any) -> Trace:
    """Build a trace from given logits, as if a model had said them."""
    logits = np.asarray(all_logits, dtype=np.float64)
    if tokens_kept is None:
        tokens_kept = np.full((len(logits), head_depths[-1] + 1), 10)
        tokens_kept[:, -1] = 0
    return Trace(
        labels=np.asarray(labels),
        all_logits=logits,
        tokens_kept=np.asarray(tokens_kept),
        head_depths=head_depths,
        task=more.pop("task", TASK),
        **more,
    )
