"""A finished run while it is evaluated: all that stages and sections read."""

import dataclasses
import logging
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from eat.benchmark.engines import ENGINES, Source
from eat.benchmark.engines.engine import CALIBRATION_ROWS
from eat.benchmark.latency.model import LatencyModel
from eat.benchmark.results import Benchmark, read_benchmark, timed_exits
from eat.benchmark.tokenizing import training_rows
from eat.data import TextDataModule
from eat.deployment.activations import rows_digest
from eat.evaluation.calibration import read_temperatures
from eat.evaluation.certify.certificate import Certificate
from eat.evaluation.certify.kept import standing_certificate
from eat.evaluation.findings import Findings, analyse
from eat.evaluation.report.plan import read_latency
from eat.exits import check_exit
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import OWN, EngineId
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from eat.traces.record import record_traces
from eat.traces.run_traces import RunTraces, read_current, read_traces

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class Evaluation:
    """One evaluation: what was asked for, and what is known by now.

    The properties are read or measured when first asked for, and kept. A stage that finds one anew sets it, so that
    no stage reads a file that another stage of the same call wrote.
    """

    run: FinishedRun
    asked: OperatingPoint | None  # exit that was asked for; None for the run's own
    settings: Mapping[str, Any]  # of the chosen stages, by stage; what follows are arguments of `evaluate_run`
    thresholds: Sequence[float] | None = None
    baseline_run: FinishedRun | None = None
    data_places: Mapping[str, str | Path | None] = dataclasses.field(default_factory=dict)
    device: str = "auto"
    fresh: bool = False
    compile: bool = False
    engine: EngineId = OWN  # whose answers all is about
    command: str = ""  # which repeats the report

    def check(self) -> None:
        """Check exit and baseline, which takes the traces, before any measurement."""
        check_exit(self.swept.build(), self.traces.reported.all_logits.shape[2])
        if len(self.traces.reported.head_depths) == 1 and self.swept != FULL_DEPTH:
            log.warning(
                "exit: %s has no early head: no text leaves early; head_depths= trains with some, retrofit= adds them",
                self.run.name,
            )
        if self.baseline is not None:
            for split in self.traces.all_off:
                self.baseline.same_examples(split, self.traces.splits[split], "baseline_run")

    @property
    def own(self) -> OperatingPoint:
        """The operating point that the report is about: the one asked for, else the run's own."""
        return self.standing if self.asked is None else self.asked

    @property
    def standing(self) -> OperatingPoint:
        """The run's own operating point: the certified one, else the configured one."""
        return self.run.exit if self.certificate is None else self.certificate.exit

    @property
    def swept(self) -> OperatingPoint:
        """The exit whose criterion is swept, which thresholds are about: the one asked for, else the run's."""
        return self.run.exit if self.asked is None else self.asked

    @cached_property
    def certificate(self) -> Certificate | None:
        """The certificate that the run's model carries: of this call, else of an earlier one."""
        return standing_certificate(self.run, self.report, lambda: self.traces, self.engine)

    @property
    def report(self) -> Path:
        """The run's own report folder, where its certificates lie; another engine than eat's own has one within."""
        return self.run.folder / "report" / ("" if self.engine.is_eat else self.engine.name)

    @cached_property
    def folder(self) -> Path:
        """Where this report goes: ``report/``, or ``report/<name>/`` for another operating point than the run's."""
        return self.report if self.asked is None or self.asked == self.standing else self.report / self.asked.slug

    @cached_property
    def traces(self) -> RunTraces:
        """What the model answers: read where the traces are those of the weights, made anew otherwise."""
        current = None if self.fresh else read_current(self.run, self.engine)
        if current is None:
            with tempfile.TemporaryDirectory(prefix="eat-traces-") as folder:
                self._record(Path(folder))
        return current or read_traces(self.run, self.engine)

    def _record(self, folder: Path) -> None:
        """Make the traces; exported engines write to a folder."""
        if self.engine.is_eat:
            record_traces(self.run, self.run.load_model(self.device, certified=False), self.data)
            return
        tracer, rows = ENGINES[self.engine.name].tracer, training_rows(self.data, CALIBRATION_ROWS)
        model = self.run.load_model("cpu", certified=False)
        record_traces(
            self.run,
            model,
            self.data,
            self.engine,
            lambda traced, name: tracer(Source(traced, calibration=rows), folder / name),
            noted={"calibration": rows_digest(rows)} if ENGINES[self.engine.name].calibrated else {},
        )

    @cached_property
    def temperatures(self) -> Sequence[float] | None:
        """Temperatures that the heads are drawn with: of a calibration of this call, else of an earlier one."""
        return read_temperatures(self.folder, self.traces.reported)

    @cached_property
    def baseline(self) -> RunTraces | None:
        """Traces of the dense run."""
        return None if self.baseline_run is None else read_traces(self.baseline_run)

    @cached_property
    def data(self) -> TextDataModule:
        """The run's data."""
        return load_data(self.run, self.data_places)

    @cached_property
    def model(self) -> AdaptiveForSequenceClassification:
        """The run's model to be measured, without a certificate."""
        model = self.run.load_model(self.device, certified=False)
        if self.compile:
            model.compile_blocks()
        return model

    @cached_property
    def benchmark(self) -> Benchmark | None:
        """Times of these weights, from an earlier evaluation where this one measures none."""
        return read_benchmark(self.folder, self.traces.fingerprint)

    @cached_property
    def latency(self) -> LatencyModel | None:
        """What a call takes, from an earlier plan where this evaluation makes none."""
        return read_latency(self.folder, self.traces.reported)

    @cached_property
    def findings(self) -> Findings:
        """All operating points on all splits."""
        return analyse(
            self.traces,
            self.own,
            self.swept if "sweep" in self.settings else None,
            baseline=self.baseline,
            thresholds=self.thresholds,
            always=timed_exits(self.benchmark),
        )
