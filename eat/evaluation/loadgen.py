"""A finished run under MLPerf LoadGen: dense engines, eat's own where they are certified, and the survivor pool."""

import dataclasses
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eat.benchmark.clock import num_threads
from eat.benchmark.engines import EAT, ENGINES, Call, Encoded, Source
from eat.benchmark.engines.engine import CALIBRATION_ROWS
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.loadgen import (
    Batches,
    LoadGenResult,
    LoadGenSettings,
    Pooled,
    Serving,
    import_loadgen,
    run_loadgen,
)
from eat.benchmark.run import describe_conditions
from eat.benchmark.tokenizing import encoded_examples, training_rows
from eat.checks import some_of, thread_count
from eat.evaluation.queries import Served, labelled_texts
from eat.machine import load_average
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.data import load_data
from eat.runs.environment import commit
from eat.runs.finished import FinishedRun

log = logging.getLogger(__name__)

POOLED = "eat_stream"
"""The contender that pools survivors: eat's own engine, at the same operating point."""
CONTENDERS = tuple(name for known in ENGINES for name in ((known, POOLED) if known == EAT else (known,)))
"""By name, in their order: the engines, and beside eat's own the one that pools survivors."""
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class LoadGenRunSettings(LoadGenSettings):
    """How a finished run is put under LoadGen."""

    engines: Sequence[str] | None = None  # what answers, by name; null for all that can run here
    split: str | None = None  # whose texts LoadGen draws from; null for test where it has labels, else validation
    threads: int = 1  # inside operators, of every engine

    def __post_init__(self) -> None:
        """Refuse a value of another type or out of range."""
        super().__post_init__()
        if self.engines is not None:
            some_of("engines", self.engines, (*CONTENDERS, *ENGINES.offered()))
        thread_count("threads", self.threads)

    @property
    def asked(self) -> dict[str, Any]:
        """What results depend on, and can be told apart by: not which contenders and scenarios there are."""
        return {name: getattr(self, name) for name in ("seconds", "batch_size", "latency_ms", "server_runs", "threads")}


@dataclasses.dataclass(frozen=True)
class Contender:
    """What answers, before anything is exported."""

    served: Served
    model: AdaptiveForSequenceClassification
    certified: bool
    pooled: bool

    @property
    def about(self) -> dict[str, Any]:
        """What results say of it."""
        exit = self.served.exit_of(self.model)
        return {"engine": self.served.engine, "exit": exit, "certified": self.certified}


class LoadGenRun:
    """A finished run, its texts and its contenders; `measure` puts them under LoadGen.

    Args:
        run: The run's folder.
        settings: What is asked.
        data_places: Where the run's data lie now, as `eat.runs.data.load_data` takes them.

    Raises:
        FileNotFoundError: If the run, its weights or its data are missing.
        ImportError: If LoadGen is not installed.
        ValueError: If a setting is not as it must be, or an engine that is named cannot run here or is not certified
            while others are.
    """

    def __init__(
        self,
        run: str | Path,
        settings: LoadGenRunSettings | None = None,
        *,
        data_places: Mapping[str, str | Path | None] | None = None,
    ) -> None:
        self.settings = settings or LoadGenRunSettings()
        import_loadgen()
        self.run = FinishedRun(run)
        data = load_data(self.run, data_places)
        self.task = data.task.name
        self.split, texts, self.labels = labelled_texts(data, self.settings.split, "run")
        self.examples = encoded_examples(data, self.split, range(len(texts)))
        self._calibration = training_rows(data, CALIBRATION_ROWS)
        self.absent: dict[str, str] = {}
        self.contenders = dict(self._contenders())

    def facts(self) -> dict[str, Any]:
        """Return what all results depend on: the run, what is asked, the machine and versions."""
        machine = describe_conditions(CPU, "gpu")
        del machine["load_average"]  # of each measurement
        packages = ("torch", "transformers", "mlcommons-loadgen")
        return {
            "run": self.run.name,
            "weights": self.run.fingerprint(),
            "task": self.task,
            "split": self.split,
            "texts": len(self.examples),
            **self.settings.asked,
            "machine": machine | {name: metadata.version(name) for name in packages},
        }

    def measure(self, known: Collection[tuple[str, str]] = ()) -> Iterator[tuple[str, str, dict[str, Any], str]]:
        """Yield contender, scenario, what came out and LoadGen's own summary, each as soon as it is there.

        What is ``known`` already, by contender and scenario, is left out.
        """
        for name, contender in self.contenders.items():
            left = [scenario for scenario in self.settings.scenarios if (name, scenario) not in known]
            if not left:
                continue
            with tempfile.TemporaryDirectory(prefix="eat-loadgen-") as folder, num_threads(self.settings.threads):
                call = self._call(contender, Path(folder))
                accuracy = self._accuracy(call)
                for scenario in left:
                    before = {"commit": commit(), "load_average": load_average()}
                    serving = self._serving(contender, call, scenario)
                    result = run_loadgen(serving, self.examples, scenario, self.settings)
                    log.info("%s, %s: %s", name, scenario, _said(result))
                    values = {key: value for key, value in vars(result).items() if key not in ("scenario", "summary")}
                    yield name, scenario, {**contender.about, "accuracy": accuracy, **values, **before}, result.summary

    def _contenders(self) -> Iterator[tuple[str, Contender]]:
        """Load what can run; what is named and cannot is an error, else it is noted as absent."""
        source = Source(self.run.load_model("cpu", certified=False), calibration=self._calibration)
        named = self.settings.engines
        for name in dict.fromkeys(CONTENDERS if named is None else named):
            try:
                yield name, self._contender(name, source)
            except (RuntimeError, ValueError) as error:
                if named is not None:
                    raise
                self.absent[name] = str(error)
                log.info("left out: %s: %s", name, error)

    def _contender(self, name: str, source: Source) -> Contender:
        key = EAT if name == POOLED else name
        engine = ENGINES[key]
        # Slow is no reason against what is named: that is measured.
        reason = engine.why_not(CPU) if self.settings.engines is None else engine.cannot_trace(CPU)
        reason = reason or engine.cannot(source)
        if reason is not None:
            raise ValueError(f"engines: {name} cannot run here: {reason}")
        served = Served(name, self.run, key, None)
        model, certified = served.load()
        if name == POOLED:
            model.survivor_pools()  # refuses a model with sufficient rules
        return Contender(served, model, certified, pooled=name == POOLED)

    def _call(self, contender: Contender, folder: Path) -> Call:
        if contender.pooled:
            return packed_call(contender.model)
        return contender.served.serve(contender.model, self._calibration, folder)[0]

    def _serving(self, contender: Contender, call: Call, scenario: str) -> Serving:
        size = self.settings.batch_size
        if not contender.pooled:
            return Batches(call, size)
        # A server's query may wait in pools for half of its time; elsewhere nothing is late, and waiting fills batches.
        return Pooled(contender.model, size, self.settings.latency_ms / 2 if scenario == "server" else None)

    @torch.inference_mode()
    def _accuracy(self, call: Call) -> float:
        size, right = self.settings.batch_size, 0
        for start in range(0, len(self.examples), size):
            batch: list[Encoded] = self.examples[start : start + size]
            answers = np.asarray(call(batch)).argmax(1)
            right += int((answers == np.array(self.labels[start : start + size])).sum())
        return right / len(self.examples)


def title_of(contender: str) -> str:
    """Return a contender's name for people."""
    if contender == POOLED:
        return "eat, survivors pooled"
    return ENGINES[contender].title.removesuffix(", everything off")


def _said(result: LoadGenResult) -> str:
    times = ", ".join(f"p{name} {value:.2f} ms" for name, value in result.latency_ms.items())
    rate = "" if result.server_qps is None else f"{result.server_qps:.1f} issued a second, "
    return f"{rate}{result.queries_per_s:.1f} answered a second, {times}, {'valid' if result.valid else 'not valid'}"
