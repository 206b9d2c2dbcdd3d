"""Finished runs that differ as runs of an ablation do, made in a moment: traces without a model that answered."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from eat.evaluation.report.rows import point_row
from eat.evaluation.report.table import write_rows
from eat.exits.points import OperatingPoint
from eat.runs.finished import FinishedRun
from eat.traces.quality import measure_point
from eat.traces.run_traces import read_traces
from eat.traces.storage import write_trace
from eat.traces.trace import Trace
from tests.made.models import TASK, make_model

CONFIDENCE = {"name": "confidence", "threshold": 0.8}
NEVER = {"name": "never"}
SPLITS = {"threshold": 60, "validation": 80}


def write_logged(
    folder: Path,
    experiment: str | None = "ablation/dense",
    *,
    seed: int = 0,
    noise: float = 1.0,
    splits: dict[str, int] = SPLITS,
    timed: float | None = None,
    **changes: Any,
) -> Path:
    """Write a run folder whose early heads see the label through noise; ``timed`` is its speed-up at batch 1."""
    exit = changes.pop("exit", NEVER)
    depths = [4] if exit == NEVER else [1, 2, 4]
    config = {
        "seed": seed,
        "experiment": experiment,
        "exit": exit,
        "data": {"train_examples": 100, "threshold_examples": 60},
        "task": {"name": TASK.name},
        "backbone": {"name": "tiny"},
        "budget": {"name": "smoke"},
        "head_depths": depths,
        "objective": {"name": "joint", "teacher": None},
        "holdout": {"name": "mine"},
    }
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))
    (folder / "environment.json").write_text(json.dumps({"commit": "abc1234", "seed": seed}))
    for number, (name, size) in enumerate(splits.items()):
        write_trace(_trace(name, size, number, seed, noise, depths, list(splits)), folder / "trace" / f"{name}.parquet")
    write_report(folder, exit, timed)
    return folder


def write_report(folder: Path, exit: dict[str, Any], timed: float | None = None) -> None:
    """Write what an evaluation leaves, as far as tables read it."""
    run = FinishedRun(folder)
    traces, own = read_traces(run), OperatingPoint.of(exit)
    row = point_row(run, traces.reported, measure_point(traces.reported, own))
    if timed is not None:
        row |= {"engine": "eat", "batch_size": 1, "threads": 1, "baseline": "huggingface_sdpa_padded", "speedup": timed}
        facts = {"environment": {"cpu": "Abacus", "cpu_cores": 2}}
        (folder / "report").mkdir(exist_ok=True)
        (folder / "report" / "benchmark.json").write_text(json.dumps(facts))
    write_rows(folder / "report" / "frontier.csv", [row])
    point = {"run": run.name, "split": traces.main, "exit": own.spec}
    (folder / "report" / "operating_point.json").write_text(json.dumps(point))


@functools.cache
def _config(depths: tuple[int, ...]) -> dict[str, Any]:
    return make_model(head_depths=list(depths), pruner={"name": "none"}).config.to_dict()


def _trace(split: str, size: int, number: int, seed: int, noise: float, depths: list[int], splits: list[str]) -> Trace:
    labels = np.random.default_rng(number).integers(0, 2, size=size)  # the same examples whatever the seed
    generator = np.random.default_rng([number, seed])
    shift = (2 * labels - 1).astype(float)
    heads = [shift + noise * (1 + 0.3 * (4 - depth)) * generator.normal(size=size) for depth in depths]
    tokens = np.full((size, 5), 10)
    tokens[:, 4] = 0
    metadata = {
        "split": split,
        "reported": split == "validation",
        "data": "complete",
        "fingerprint": "0" * 16,
        "traces": splits,
        "config": _config(tuple(depths)),
    }
    logits = np.stack([np.stack([-head, head], axis=1) for head in heads], axis=1)
    return Trace(labels, logits, tokens, tuple(depths), TASK, metadata)
