"""A task's ablation tables: ablation.csv, .md and .tex, and ablation.json, which says what they were made of."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from eat.evaluation.report.table import TABLE, Row, number, points_text, render
from eat.exits.points import FULL_DEPTH
from eat.files import write_text
from eat.results.choice import chooses_on_reported
from eat.results.collect import LoggedRun, Problem, collect
from eat.results.group import Block, group
from eat.results.latex import latex_table
from eat.results.lines import Line, Size, make_lines
from eat.results.published import published_latex, published_section
from eat.results.sources import digest_files, file_digest

CSV = dataclasses.replace(
    TABLE,
    columns=(*TABLE.columns, "compression", "holdout", "chosen_on", "machine"),
    text=TABLE.text | {"compression", "holdout", "chosen_on", "machine"},
)
"""The columns of any results table, and what an ablation's reader must know besides."""
MANIFEST = "ablation.json"
SUITES = ("ablation", "systems")
"""Of whose experiments a task's tables are made: `conf/experiment/`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationSettings:
    """What is tabulated."""

    suite: str | Sequence[str] | None = SUITES  # runs of experiments <suite>/..., one or several; null for all
    baseline: str = "dense"  # the experiment, without its suite, that all are compared with, seed by seed
    within: int | float | None = None  # shows the cheapest exit that loses so many points; null for each run's own exit

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites; empty for runs of every experiment."""
        return (self.suite,) if isinstance(self.suite, str) else tuple(self.suite or ())


@dataclasses.dataclass(frozen=True, eq=False)
class BlockTable:
    """A block's lines."""

    block: Block
    lines: tuple[Line, ...]

    @property
    def runs(self) -> list[LoggedRun]:
        """All runs in it."""
        return [shown.run for line in self.lines for shown in line.shown]


def write_ablation(folder: Path, task: str, settings: AblationSettings) -> tuple[str, list[Problem]]:
    """Tabulate a task's runs below ``folder/<task>`` and write the files there, each whole or not at all.

    Returns:
        The tables as Markdown, and what was left out or must be known.

    Raises:
        FileNotFoundError: If there is no such folder, or no run of the suite in it.
    """
    root = folder / task
    runs, problems = collect(root, (task,), settings.suites)
    if not runs:
        left_out = f"; left out: {'; '.join(map(str, problems))}" if problems else ""
        experiments = f"of {' or '.join(settings.suites)} " if settings.suites else ""
        raise FileNotFoundError(f"tasks: no finished run {experiments}of {task} in {root}{left_out}")
    blocks, more = group(runs)
    tables, found = [], [*problems, *more]
    for block, experiments_of in sorted(blocks.items(), key=lambda item: item[0]):
        lines, of_lines = make_lines(experiments_of, settings.baseline, settings.within)
        tables.append(BlockTable(block, tuple(lines)))
        found += of_lines
    found = sorted({problem for problem in found if not _is_old(problem)})
    text = markdown(tables, found, settings)
    CSV.write(root / "ablation.csv", [row for table in tables for row in csv_rows(table, settings)])
    write_text(root / "ablation.md", text)
    write_text(
        root / "ablation.tex", "\n".join([*(_latex(table, settings) for table in tables), *published_latex(task)])
    )
    _write_manifest(root, [run for table in tables for run in table.runs], settings)
    return text, found


def markdown(tables: Sequence[BlockTable], problems: Sequence[Problem], settings: AblationSettings) -> str:
    """Lay out a task's tables, what was left out, and what papers published."""
    parts = [f"# Ablation: {tables[0].block.task}"]
    for table in tables:
        head = "\n".join(f"- {fact}" for fact in facts(table, settings))
        parts += [f"## {table.block.title}", head, render(headers(table), cells(table), markdown=True)]
    parts.append(LEGEND)
    if problems:
        parts += ["## Left out, or to be known", "\n".join(f"- {problem}" for problem in problems)]
    parts += filter(None, [published_section(tables[0].block.task)])
    return "\n\n".join(parts) + "\n"


LEGEND = (
    "Value: mean ± sample deviation over seeds. To dense: difference to the dense run of the same seed, in points, "
    "with a 95 % interval over examples, and over seeds where there are several (bootstrap); p: exact McNemar test, "
    "of one seed. Depth: mean exit depth. Tokens kept: share in the last executed block. FLOPs: executed over those "
    "of dense. Speed-ups are over Hugging Face on padded batches, means over seeds. ELUE: mean height of the front "
    "over the curve of the static models, in points (see `eat/results/elue.py`). A dash: not measured."
)


def facts(table: BlockTable, settings: AblationSettings) -> list[str]:
    """Say what a table's reader must know first."""
    block, runs = table.block, table.runs
    first = runs[0].traces.reported
    official = first.task.official_rows.get("train")
    trained = block.rows + (f", of {official:,} official ones" if official else "")
    machines = sorted({m for line in table.lines if line.speedups() for s in line.shown if (m := s.run.machine())})
    said = [
        f"reported: {block.split}, {len(first):,} examples, {block.data}",
        f"trained on: {trained}; budget {block.budget}",
        f"held out for thresholds and certificates: {block.holdout}",
        f"backbone: {block.weights}; seeds: {', '.join(str(s) for s in sorted({run.seed for run in runs}))}",
        f"operating points: {_point_rule(settings)}",
        f"times measured on: {'; '.join(machines) or 'nothing, no run was timed'}",
    ]
    if any(map(chooses_on_reported, runs)):
        said.insert(
            3,
            "**nothing was held out: thresholds are chosen on the reported split itself**, which flatters them; each "
            "model is the last of its training",
        )
    return said


def _point_rule(settings: AblationSettings) -> str:
    if settings.within is None:
        return "each run's own, as it was configured or certified"
    points = f"{settings.within:g} point{'s' if settings.within != 1 else ''}"
    return f"the cheapest of each run's exit that loses at most {points} to its own full depth on the threshold split"


def headers(table: BlockTable) -> list[str]:
    """Return the headings of a block's table."""
    metric = table.runs[0].traces.reported.task.metrics[0]
    sizes = [f"speed-up at {b}, {t} thread{'s' if t > 1 else ''}" for b, t in _sizes(table)]
    named = ["experiment", "seeds", "exit", metric, "to dense, points [95 %]", "p", "depth", "tokens kept", "FLOPs"]
    return [*named, "ECE", *sizes, "ELUE"]


def cells(table: BlockTable) -> list[list[str]]:
    """Return the cells of a block's table, a line for each experiment."""
    return [_cells(line, _sizes(table)) for line in table.lines]


def _cells(line: Line, sizes: Sequence[Size]) -> list[str]:
    mean, deviation = line.value
    speedups = line.speedups()
    return [
        line.experiment.name,
        str(len(line.shown)),
        "; ".join("full depth" if point == FULL_DEPTH else point.label for point in line.exits),
        number(mean, 4) + ("" if deviation is None else f" ± {deviation:.4f}"),
        points_text(line.delta),
        number(None if line.delta is None else line.delta.p_value),
        number(line.mean(lambda point: point.avg_depth), 2),
        number(line.mean(lambda point: point.retention), 2),
        number(line.flops_ratio),
        number(line.mean(lambda point: point.ece)),
        *(number(speedups.get(size), 2, "x" if size in speedups else "") for size in sizes),
        "-" if line.score is None else f"{line.score:+.2f}",
    ]


def _sizes(table: BlockTable) -> list[Size]:
    return sorted({size for line in table.lines for size in line.speedups()}, key=lambda size: (size[1], size[0]))


def csv_rows(table: BlockTable, settings: AblationSettings) -> list[Row]:
    """Return the rows of ablation.csv: each run's, or one for each size that it was timed at."""
    rows = []
    for line in table.lines:
        for run, row in line.rows():
            chosen_on = "reported" if chooses_on_reported(run) else "threshold"
            more: Row = {"holdout": table.block.holdout, "chosen_on": None if settings.within is None else chosen_on}
            more |= {"machine": run.machine() if row["engine"] else None, "flops_ratio": _over_dense(line, row)}
            more |= {"compression": (run.run.config.get("compression") or {}).get("name", "none")}
            rows.append(row | more)
    return rows


def _over_dense(line: Line, row: Row) -> float | None:
    """Return a run's executed work over that of the dense experiment, of full depth, as the line has it of its mean."""
    mean = line.mean(lambda point: point.gflops)
    return None if line.flops_ratio is None or mean is None else row["gflops"] * line.flops_ratio / mean


def _latex(table: BlockTable, settings: AblationSettings) -> str:
    caption = f"Ablation on {table.block.title}. " + "; ".join(facts(table, settings)).replace("**", "") + "."
    return latex_table(headers(table), cells(table), caption, f"tab:ablation-{table.block.title}")


def _write_manifest(root: Path, runs: Sequence[LoggedRun], settings: AblationSettings) -> None:
    """Note what the tables were made of, so that a test can tell without making them again."""
    made = {name: file_digest(root / name) for name in ("ablation.csv", "ablation.md", "ablation.tex")}
    sources = {run.run.folder.relative_to(root).as_posix(): digest_files(run.run.folder) for run in runs}
    facts = {"settings": dataclasses.asdict(settings), "runs": dict(sorted(sources.items())), "files": made}
    write_text(root / MANIFEST, json.dumps(facts, indent=1) + "\n")


def _is_old(problem: Problem) -> bool:
    return "set aside when" in problem.what
