"""Where finished runs spend their time, each served by an engine: the operators of `eat.benchmark.profile`."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from eat import kernels
from eat.benchmark.clock import num_threads
from eat.benchmark.engines import ENGINES, Call
from eat.benchmark.engines.engine import CALIBRATION_ROWS
from eat.benchmark.profile import profile
from eat.benchmark.tokenizing import encoded_examples, training_rows
from eat.checks import one_of, thread_count, whole_number
from eat.data import TextDataModule
from eat.evaluation.queries import Served, read_candidates
from eat.machine import describe_host
from eat.runs.data import load_data
from eat.tables import Row


@dataclasses.dataclass(frozen=True)
class ProfileSettings:
    """What every candidate answers."""

    split: str | None = None  # whose texts; null for the first that is reported
    texts: int = 512  # how many, from the first on
    batch_size: int = 32  # texts of a call
    passes: int = 3  # how often all are answered
    threads: int = 1  # inside operators, of every engine

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        for name in ("texts", "batch_size", "passes"):
            whole_number(name, getattr(self, name))
        thread_count("threads", self.threads)


@dataclasses.dataclass(frozen=True)
class Profiled:
    """What came out, and of what."""

    rows: list[Row]  # of `eat.benchmark.profile.PROFILE`
    task: str
    split: str
    candidates: Mapping[str, Mapping[str, Any]]  # by name: run, engine, operating point, microseconds of a text
    machine: Mapping[str, Any]  # as `describe_host` tells, and the choice of products


def profile_runs(
    candidates: Any,
    settings: ProfileSettings | None = None,
    *,
    data_places: Mapping[str, str | Path | None] | None = None,
) -> Profiled:
    """Tell how long each operator runs while finished runs answer batches, each served by an engine.

    Args:
        candidates: As `eat.evaluation.queries.measure_runs` takes them.
        settings: What is answered.
        data_places: Where the runs' data lie now, as `eat.runs.data.load_data` takes them.

    Raises:
        FileNotFoundError: If a run, its weights or its data are missing.
        ValueError: If a candidate or a setting is not as it must be, runs are of different tasks, or an engine has no
            profiler.
    """
    settings = settings or ProfileSettings()
    served = read_candidates(candidates)
    for one in served:
        if ENGINES[one.engine].profiler is None:
            known = [name for name, engine in ENGINES.items() if engine.profiler is not None]
            raise ValueError(
                f"candidates.{one.name}.engine: expected one whose operators can be seen, such as {known}, got "
                f"{one.engine!r}"
            )
    data = {one.run.folder: load_data(one.run, data_places) for one in served}
    first = data[served[0].run.folder]
    if len({each.task.name for each in data.values()}) > 1:
        raise ValueError("candidates: expected runs of one task, got several")
    split = one_of("split", settings.split or first.report_splits[0], first.tokenized)
    rows: list[Row] = []
    about: dict[str, dict[str, Any]] = {}
    for one in served:
        found, about[one.name] = _profiled(one, data[one.run.folder], split, settings)
        rows += [row | {"name": one.name} for row in found]
    with num_threads(settings.threads):
        machine = describe_host() | {"kernels": kernels.text()}
    return Profiled(rows, first.task.name, split, about, machine)


def _profiled(
    served: Served, data: TextDataModule, split: str, settings: ProfileSettings
) -> tuple[list[Row], dict[str, Any]]:
    count, size = min(settings.texts, len(data.splits[split])), settings.batch_size
    examples = encoded_examples(data, split, range(count))
    batches = [examples[start : start + size] for start in range(0, count, size)]
    calibration, (model, _) = training_rows(data, CALIBRATION_ROWS), served.load()
    with tempfile.TemporaryDirectory(prefix="eat-profile-") as name, num_threads(settings.threads):

        def open_call() -> Call:
            return served.serve(model, calibration, Path(name))[0]

        with torch.inference_mode():
            rows, plain = profile(open_call, batches, str(ENGINES[served.engine].profiler), passes=settings.passes)
    return rows, {
        "run": served.run.name,
        "engine": served.engine,
        "exit": served.exit_of(model),
        "us_per_text": round(plain, 1),
        "texts": count,
        "batch_size": size,
        "threads": settings.threads,
    }
