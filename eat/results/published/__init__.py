"""Figures that papers published, beside which ours stand: with their source, and with their known faults."""

import csv
import dataclasses
from pathlib import Path

from eat.evaluation.report.table import render
from eat.results.latex import latex_table

EAT = "Miller 2025, arXiv 2510.12856"
FAULTS = (
    "The text says 6 layers; average depths of 11 to 12 show that a model of 12 layers was measured.",
    "MNLI at 38 % is an error: the project's own training log says 77.4 %.",
    "Its code masks pruned tokens instead of removing them, and builds dense masks for windowed attention.",
    "A batch leaves early only when all of it is sure.",
    "Its ablation table repeats its frontier table.",
    "Rows of one model and task that differ in latency alone are repeated measurements, as printed.",
)
"""Known faults of the EAT paper's published results."""
WARNING = "Other weights, other machines: to be read beside the table above, not subtracted from it."

_FOLDER = Path(__file__).parent


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of ``eat_paper`` or ``other_papers``, as printed there."""
    with (_FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@dataclasses.dataclass(frozen=True)
class PublishedTable:
    """What was published on a task, laid out."""

    name: str
    caption: str
    headers: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    faults: tuple[str, ...] = ()


def published_tables(task: str) -> list[PublishedTable]:
    """Lay out what was published on a task: the EAT paper's own table, and that of others; none where nothing was."""
    paper = [row for row in rows("eat_paper") if row["task"] == task]
    others = [row for row in rows("other_papers") if row["task"] == task]
    tables = []
    if paper:
        headers = ("model", "tau", "accuracy", "to BERT, points", "depth", "tokens kept", "ms", "speed-up")
        columns = ("model", "tau", "accuracy", "delta_acc_pp", "avg_depth", "avg_retention", "latency_ms")
        lines = tuple((*(row[c] or "-" for c in columns), f"{row['speedup_vs_bert']}x") for row in paper)
        caption = f"The EAT paper ({EAT}), BERT-base, one example at a time on a GPU in FP16"
        tables.append(PublishedTable("eat", caption, headers, lines, FAULTS))
    if others:
        headers = ("method", "backbone", "metric", "before", "after", "speed-up", "counted as", "source")
        of_others = ("method", "backbone", "metric", "quality_before", "quality_after")
        lines = tuple(
            (*(row[c] or "-" for c in of_others), f"{row['speedup']}x", row["counted_as"], row["source"])
            for row in others
        )
        tables.append(PublishedTable("others", "Other papers, each with its own baseline", headers, lines))
    return tables


def published_section(task: str) -> str:
    """Return what was published on a task as Markdown; empty where nothing was."""
    parts = []
    for table in published_tables(task):
        parts.append(f"{table.caption}:\n\n{render(table.headers, table.lines, markdown=True)}")
        if table.faults:
            parts.append("Known faults of these figures:\n\n" + "\n".join(f"- {fault}" for fault in table.faults))
    return "\n\n".join(["## Published figures", WARNING, *parts]) if parts else ""


def published_latex(task: str) -> list[str]:
    """Return what was published on a task as LaTeX tables, known faults in the caption."""
    return [
        latex_table(
            table.headers,
            table.lines,
            " ".join([f"Published: {table.caption}.", *table.faults, WARNING]),
            f"tab:published-{table.name}-{task}",
        )
        for table in published_tables(task)
    ]
