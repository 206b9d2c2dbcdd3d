"""What figures read of one finished run: its traces, the rows of its report, and the metrics of its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from eat.checks import is_number_text
from eat.evaluation.calibration import read_temperatures
from eat.evaluation.report.table import Row
from eat.exits.points import OperatingPoint
from eat.results.collect import LoggedRun
from eat.runs.finished import FinishedRun
from eat.tables import read_csv
from eat.traces.run_traces import RunTraces


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """A finished run, read."""

    name: str  # of its folder
    config: Mapping[str, Any]  # what it was trained with
    traces: RunTraces  # what its model answers
    point: OperatingPoint  # of its report: as it was configured, or certified
    rows: Sequence[Row] = ()  # its frontier.csv
    metrics: Sequence[Mapping[str, float]] = ()  # its metrics.csv: by column what was logged at a step
    temperatures: Sequence[float] | None = None  # of its heads: those of its report's calibration, else the model's own

    @classmethod
    def of(cls, logged: LoggedRun) -> Evidence:
        """Read what figures need besides.

        Raises:
            ValueError: If a file is damaged; the message names it.
        """
        run = logged.run
        return cls(
            name=run.name,
            config=run.config,
            traces=logged.traces,
            point=logged.own,
            rows=logged.frontier,
            metrics=_read_metrics(run),
            temperatures=read_temperatures(run.folder / "report", logged.traces.reported),
        )

    @property
    def num_layers(self) -> int:
        """Depth of the encoder."""
        return self.traces.reported.num_layers

    @property
    def has_early_heads(self) -> bool:
        """True where a sequence could leave before the last layer."""
        return self.traces.has_early_heads

    @property
    def pruner(self) -> Mapping[str, Any]:
        """The pruner and its arguments."""
        pruner: Mapping[str, Any] = self.traces.reported.config["pruner"]
        return pruner

    @property
    def prunes(self) -> bool:
        """True where tokens leave."""
        return bool(self.pruner.get("depths"))

    @property
    def window(self) -> int | None:
        """Width of the attention window; None where every token sees all."""
        window: int | None = self.traces.reported.config["attention"].get("window")
        return window

    @property
    def is_plain(self) -> bool:
        """True for an encoder with full attention, all tokens and weights, and one head: dense, or static shallow."""
        compressed = (self.config.get("compression") or {}).get("name", "none") != "none"
        gated = self.config["backbone"].get("feed_forward", "dense") != "dense"
        return not (self.prunes or self.window or self.has_early_heads or compressed or gated)


def _read_metrics(run: FinishedRun) -> list[dict[str, float]]:
    path = run.folder / "metrics.csv"
    if not path.is_file():
        return []
    rows = [{name: value for name, value in line.items() if value} for line in read_csv(path)[1]]
    bad = next((name for row in rows for name, value in row.items() if not is_number_text(value)), None)
    if bad is not None:
        raise ValueError(f"{path}: column {bad!r}: expected numbers; remove the file, and its figure is left out")
    return [{name: float(value) for name, value in row.items()} for row in rows]
