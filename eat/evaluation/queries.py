"""Finished runs one text at a time, each served by an engine: the candidates of `eat.benchmark.queries`."""

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eat import kernels
from eat.benchmark.engines import EAT, ENGINES, Call, Encoded, Source
from eat.benchmark.engines.engine import CALIBRATION_ROWS, save_pretrained
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.queries import Candidate, measure_queries
from eat.benchmark.tokenizing import one_thread, training_rows
from eat.checks import one_of, shown, thread_count, whole_number
from eat.data import TextDataModule
from eat.data.tokenizer import read_tokenizer
from eat.deployment.encoding import TextEncoder
from eat.deployment.export import templates_of
from eat.exits.points import OperatingPoint
from eat.machine import describe_host
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import EngineId, numbers_of
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from eat.tables import Row

KEYS = ("run", "engine", "exit", "family")
BATCH = 64
"""Texts of a batch where accuracy alone is wanted."""


@dataclasses.dataclass(frozen=True)
class QuerySettings:
    """What is asked of every candidate."""

    split: str | None = None  # whose texts are asked; None for test where it has labels, else validation
    queries: int = 100  # how many single texts are timed
    warm_ups: int = 10  # how many go before them
    threads: int = 1  # inside operators, of every engine

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        whole_number("queries", self.queries, 2)
        whole_number("warm_ups", self.warm_ups, 0)
        thread_count("threads", self.threads)


@dataclasses.dataclass(frozen=True)
class Served:
    """A finished run as an engine serves it."""

    name: str
    run: FinishedRun
    engine: str  # key of `ENGINES`
    exit: Mapping[str, Any] | None  # changes to the run's operating point; None for the certified or configured one
    family: str | None = None  # what is shown in one panel with it

    @classmethod
    def of(cls, name: str, spec: Any) -> "Served":
        """Read a candidate: the run's folder, or ``{"run": ..., "engine": ..., "exit": {...}, "family": ...}``.

        Raises:
            FileNotFoundError: If it is no finished run.
            ValueError: If a key or the engine is unknown, or an exit is given to an engine that has none.
        """
        given: Any = {"run": spec} if isinstance(spec, str | Path) else spec
        if not isinstance(given, Mapping) or "run" not in given or set(given) - set(KEYS):
            raise ValueError(f"candidates.{name}: expected a run's folder or a mapping of {KEYS}, got {shown(spec)}")
        engine = ENGINES.checked(f"candidates.{name}.engine", given.get("engine") or EAT)
        reason = ENGINES[engine].cannot_trace(torch.device("cpu"))  # slow is no reason: that is measured
        if reason is not None:
            raise ValueError(f"candidates.{name}.engine: {engine} cannot run here: {reason}")
        family = given.get("family")
        if family is not None and not (isinstance(family, str) and family.strip()):
            raise ValueError(f"candidates.{name}.family: expected a name, got {shown(family)}")
        served = cls(name, FinishedRun(given["run"], f"candidates.{name}"), engine, given.get("exit"), family)
        if served.exit and not served.adaptive:
            raise ValueError(f"candidates.{name}.exit: expected none, {engine} runs the dense model to the end")
        return served

    @property
    def adaptive(self) -> bool:
        """Whether it prunes and exits; the others run the dense model."""
        return self.engine == EAT or ENGINES[self.engine].adaptive

    def load(self) -> tuple[AdaptiveForSequenceClassification, bool]:
        """Load the model that it runs, at its operating point, and say whether that is certified."""
        certified = self.adaptive and self.exit is None
        if not self.adaptive or self.engine == EAT:
            model = self.run.load_model("cpu", certified=certified)
            certificate = model.config.certificate
        else:
            engine = EngineId(self.engine, ENGINES[self.engine].bits)
            model, certificate = self.run.model_of(engine, certified=certified)
        if self.exit is not None:
            model.set_exit(**OperatingPoint.of(model.config.exit or {}).changed(self.exit).spec)
        return model, certificate is not None

    def exit_of(self, model: AdaptiveForSequenceClassification) -> dict[str, Any] | None:
        """Return the operating point that it serves the loaded model at; None where it runs the dense one."""
        return model.config.exit if self.adaptive else None

    def serve(
        self, model: AdaptiveForSequenceClassification, calibration: Sequence[Encoded], folder: Path
    ) -> tuple[Call, Path]:
        """Write the loaded model as its engine needs it; return what answers batches, and where its weights lie."""
        if numbers_of(self.engine) is not None:  # converted already, with what is known of that engine
            return packed_call(model), Path(save_pretrained(model, folder / self.engine, self.engine, 0).path)
        source = Source(model, token_types=model.backbone.num_types > 0, calibration=calibration)
        saved = ENGINES[self.engine].save(source, folder, self.engine)
        return ENGINES[self.engine].call(saved), Path(saved.path)


def read_candidates(candidates: Any) -> list[Served]:
    """Read a mapping of names to candidates, as `Served.of` reads each; raises as it does, and without any."""
    if not isinstance(candidates, Mapping) or not candidates:
        raise ValueError(f"candidates: expected some by name, as {{dense: runs/sst2/...}}, got {shown(candidates)}")
    return [Served.of(str(name), spec) for name, spec in candidates.items()]


@dataclasses.dataclass(frozen=True)
class MeasuredRuns:
    """What came out, and of what."""

    rows: list[Row]  # of `eat.benchmark.queries.QUERIES`
    task: str
    split: str
    candidates: Mapping[str, Mapping[str, Any]]  # by name: run, engine and operating point
    machine: Mapping[str, Any]  # as `describe_host` tells, and the choice of products


def measure_runs(
    candidates: Any,
    settings: QuerySettings | None = None,
    *,
    data_places: Mapping[str, str | Path | None] | None = None,
) -> MeasuredRuns:
    """Measure size, latency on single texts and accuracy of finished runs, each served by an engine.

    Args:
        candidates: A mapping of names to runs of one task: a folder, or ``{"run": folder, "engine": key of ENGINES,
            "exit": changes, "family": name}``. An adaptive engine serves at the run's certified point, else at its
            configured one; those of a family share a panel of a figure.
        settings: What is asked.
        data_places: Where the runs' data lie now, as `eat.runs.data.load_data` takes them.

    Raises:
        FileNotFoundError: If a run, its weights or its data are missing.
        ValueError: If a candidate or a setting is not as it must be, or runs are of different tasks.
    """
    settings = settings or QuerySettings()
    served = read_candidates(candidates)
    runs = {one.run.folder: one.run for one in served}
    data = {folder: load_data(run, data_places) for folder, run in runs.items()}
    first = data[served[0].run.folder]
    split, texts, labels = labelled_texts(first, settings.split, "candidates")
    for one in served:
        if (split, texts, labels) != labelled_texts(data[one.run.folder], split, "candidates"):
            raise ValueError(f"candidates.{one.name}: expected a run on the {split} of {served[0].name}'s, got another")
    with tempfile.TemporaryDirectory(prefix="eat-queries-") as name, _threads(settings.threads):
        built: dict[str, Candidate] = {}
        about: dict[str, dict[str, Any]] = {}
        for place, one in enumerate(served):
            folder = Path(name) / str(place)
            folder.mkdir()
            built[one.name], exit = _candidate(one, data[one.run.folder], folder)
            about[one.name] = {"run": one.run.name, "engine": one.engine, "exit": exit, "family": one.family}
        machine = describe_host() | {"kernels": kernels.text()}
        asked = {name: getattr(settings, name) for name in ("queries", "warm_ups", "threads")}
        with torch.inference_mode():
            rows = measure_queries(built, texts, labels, **asked)
    return MeasuredRuns(rows, first.task.name, split, about, machine)


def labelled_texts(
    data: TextDataModule, split: str | None, argument: str
) -> tuple[str, list[tuple[str, ...]], list[int]]:
    """Return the name, the texts and the labels of the split that is asked for; None is test, else validation.

    Raises:
        ValueError: If there is no such split, or texts do not have one class each; that names the ``argument``.
    """
    if data.task.kind != "classification":
        raise ValueError(f"{argument}: expected a run that gives a text one class of several, got a {data.task.kind}")
    known = [name for name in data.splits if name != "train"]
    chosen = one_of("split", split, tuple(known)) if split else ("test" if "test" in known else data.report_splits[0])
    rows = data.splits[chosen]
    columns = [rows[name][:] for name in ("text", "text_pair") if name in rows.column_names]
    return chosen, list(zip(*columns, strict=True)), list(rows[data.task.label_field][:])


def _candidate(served: Served, data: TextDataModule, folder: Path) -> tuple[Candidate, dict[str, Any] | None]:
    rows = training_rows(data, CALIBRATION_ROWS)
    model, _ = served.load()
    call, weights = served.serve(model, rows, folder)
    tokenizer = read_tokenizer(served.run.folder / "model", "train again")
    encoder = TextEncoder(tokenizer.backend_tokenizer, templates_of(tokenizer), data.max_length)
    typed = "token_type_ids" in rows[0]

    def answers(texts: Sequence[Any]) -> list[int]:
        batch = [{"input_ids": one.ids, **({"token_type_ids": one.types} if typed else {})} for one in encoder(texts)]
        return [int(label) for label in np.asarray(call(batch)).argmax(1)]

    def all_answers(texts: Sequence[Any]) -> Iterator[int]:
        for start in range(0, len(texts), BATCH):
            yield from answers(texts[start : start + BATCH])

    return Candidate(lambda text: answers([text])[0], weights, all_answers, served.family), served.exit_of(model)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Give torch, and with it every engine, and the tokenizers library so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with one_thread():
            yield
    finally:
        torch.set_num_threads(before)
