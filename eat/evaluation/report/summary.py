"""A whole report: what every evaluation shows, what its stages add, and the summary to read first."""

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from eat.evaluation.context import Evaluation
from eat.evaluation.report.about import about_section, environment_section
from eat.evaluation.report.benchmark import benchmark_section
from eat.evaluation.report.classes import classes_section
from eat.evaluation.report.differences import choices_section, differences_section
from eat.evaluation.report.heads import heads_section
from eat.evaluation.report.section import Section
from eat.evaluation.report.splits import difficulty_section, splits_section
from eat.evaluation.report.table import Row
from eat.evaluation.report.training import training_section
from eat.evaluation.report.weights import weights_section

log = logging.getLogger(__name__)

OPERATING_POINT = "operating_point.json"

NOT_DRAWN = "Figures: not drawn; the command above with `figures=true` draws them from the traces."

SECTIONS: tuple[Callable[[Evaluation], Section | None], ...] = (
    differences_section,
    choices_section,
    splits_section,
    heads_section,
    classes_section,
    difficulty_section,
    benchmark_section,
    training_section,
    weights_section,
)
"""What every report shows after quality and cost, in this order."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation wrote."""

    folder: Path  # where results.csv, frontier.csv, summary.md, operating_point.json and the figures are
    rows: list[Row]  # the rows of frontier.csv
    table: str  # the table that was printed


def write_report(run: Evaluation, stages: Mapping[str, Section], *, figures: bool = True) -> Report:
    """Write what the stages have not yet written, summary.md at the end; log the table, then what stages say."""
    quality = stages["quality"]
    others = [section for stage, section in stages.items() if stage != "quality"]
    made = [section for section in (make(run) for make in SECTIONS) if section is not None]
    for section in made:
        section.write(run.folder, figures=figures)
    shown = [about_section(run), quality, *made, *others, environment_section(run)]
    names = [name for section in shown for name in section.figures]
    images = [f"![{name}]({name})" for name in names] if figures else [NOT_DRAWN] if names else []
    point = {"run": run.run.name, "split": run.traces.main, "exit": run.own.spec} | run.engine.facts
    summary = "\n\n".join([*filter(None, (section.text for section in shown)), *images]) + "\n"
    Section(files={OPERATING_POINT: json.dumps(point, indent=1) + "\n", "summary.md": summary}).write(run.folder)
    table = "\n\n".join(section.console for section in (quality, *made) if section.console)
    log.info("\n%s\n\nreport: %s", table, run.folder)
    for section in others:
        if section.console:
            log.info("\n%s", section.console)
    return Report(run.folder, list(quality.rows["frontier.csv"]), table)
