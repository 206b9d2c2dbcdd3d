"""The suite's summary and figures, from its CSV files alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eat.benchmark.protocol import enough
from eat.evaluation.report.table import number, render, speedup_text
from eat.files import write_text
from eat.suite.figures import draw_curves, draw_targets
from eat.suite.records import Row, read_part
from eat.suite.settings import PART_NAMES
from eat.suite.shapes import SHAPE_TITLES
from eat.suite.targets import Figure, Measured, figures, find

Column = tuple[str, int]
"""Precision and threads: a column of the table."""
_MADE = """torch {torch}, transformers {transformers}, {system}; commit {commits}. Random weights, with the real lengths
of SST-2's validation split and of IMDB's test reviews."""
_READING = """Medians of paired ratios with bootstrap 95 % intervals; without one where fewer than 8 batches of texts of
different lengths were timed. An epoch of training and a stream for the pool are repeated whole, so that their intervals
are over the rounds alone. *Work allows* is the speed-up there would be if
time fell exactly as the executed FLOPs do."""
_MORE = """Cost over length and batch size: `curves.csv`, `curves.png`. All numbers are in the CSV files; this page and
the figures are drawn from them, again with `eat benchmark parts=[]`."""


def write_suite_report(folder: Path) -> str:
    """Write summary.md and the figures of a machine's folder; return the table of figures to reach.

    Raises:
        FileNotFoundError: If nothing was measured there.
    """
    rows = [_without_vain_interval(row) for part in PART_NAMES for row in read_part(folder / f"{part}.csv")]
    if not rows:
        raise FileNotFoundError(f"parts: nothing is recorded in {folder}, so there is nothing to draw; name some parts")
    table = targets_table(rows)
    write_text(folder / "summary.md", _summary(folder, rows, table))
    draw_targets(_points(rows), folder / "targets.png")
    if any(row["part"] == "curves" and row["speedup"] is not None for row in rows):
        draw_curves(rows, folder / "curves.png")
    return table


def _without_vain_interval(row: Row) -> Row:
    """Leave out an interval that too few batches stand behind; texts of one length cost alike, so there is no draw."""
    drawn = row["length"] is None and row["part"] not in ("training", "pool") and row["speedup"] is not None
    if not drawn or row["contender"] == row["baseline"] or enough(row["examples"], row["batch_size"]):
        return row
    return row | {"speedup_low": None, "speedup_high": None}


def columns(rows: Sequence[Row]) -> list[Column]:
    """List precisions and thread counts, in the order in which they were measured."""
    timed = [(row["dtype"], row["threads"]) for row in rows if row["threads"] is not None]
    return list(dict.fromkeys(timed))


def targets_table(rows: Sequence[Row]) -> str:
    """Set each figure to reach beside what was measured, as Markdown."""
    there = columns(rows)
    headers = ["what", "shape", "to reach", *(_title(column) for column in there), "work allows"]
    lines = []
    for figure in _asked(rows):
        found = [find(figure, rows, threads, dtype) for dtype, threads in there]
        limits = [f"{m.allowed:.2f}x" for m in found if isinstance(m, Measured) and m.allowed is not None]
        sign = "at most" if figure.at_most else "at least"
        target = f"{sign} {figure.target:g}{_unit(figure)}"
        cells = [m if isinstance(m, str) else _cell(m, figure) for m in found]
        lines.append([figure.what, SHAPE_TITLES[figure.where["shape"]], target, *cells, limits[0] if limits else "-"])
    return render(headers, lines, markdown=True)


def _asked(rows: Sequence[Row]) -> list[Figure]:
    """Take the figures that are about this kind of device."""
    return [figure for figure in figures() if figure.device == _kind(rows)]


def _points(rows: Sequence[Row]) -> list[tuple[Figure, str, Measured]]:
    """List what was measured for figures that are ratios of time."""
    return [
        (figure, _title((dtype, threads)), measured)
        for figure in _asked(rows)
        for dtype, threads in columns(rows)
        if isinstance(measured := find(figure, rows, threads, dtype), Measured)
    ]


def _summary(folder: Path, rows: Sequence[Row], table: str) -> str:
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    device = _kind(rows)
    machine = environment["gpu"] if device == "cuda" else f"{environment['cpu']}, {environment['cpu_cores']} cores"
    machine += f", TF32 {'on' if environment['tf32'] else 'off'}" if device == "cuda" else ""
    commits = ", ".join(dict.fromkeys(str(row["commit"])[:12] for row in rows))
    elsewhere = [f"{f.what} ({SHAPE_TITLES[f.where['shape']]})" for f in figures() if f.device != device]
    left_out = "; ".join(dict.fromkeys(elsewhere))
    reason = "no GPU was used" if device == "cpu" else "a GPU was used"
    parts = [
        f"# Standard suite: {machine}",
        _MADE.format(**environment["packages"], system=environment["system"], commits=commits),
        "## Figures to reach",
        _READING,
        table,
        f"Not measured here ({reason}), figures for {'CUDA' if device == 'cpu' else 'CPUs'}: {left_out}.",
        *(_part(name, [row for row in rows if row["part"] == name]) for name in PART_NAMES if name != "curves"),
        _MORE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _part(name: str, rows: Sequence[Row]) -> str:
    """Lay out a part's rows; nothing where it was not run, which the table of figures says."""
    if not rows:
        return ""
    baselines = list(dict.fromkeys(row["baseline"] for row in rows if row["speedup"] is not None))
    lines: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in rows:
        key = tuple(row[column] for column in ("shape", "dtype", "threads", "inputs", "length", "batch_size"))
        line = lines.setdefault((*key, row["contender"]), _facts(row))
        if row["baseline"] in baselines:
            line[f"over {row['baseline']}"] = speedup_text(row)
        if row["efficiency"] is not None:
            line["efficiency"] = f"{row['efficiency']:.2f}"
    headers = [*_facts(rows[0]), *(f"over {baseline}" for baseline in baselines), "efficiency"]
    headers = [name for name in headers if any(line.get(name, "-") != "-" for line in lines.values())]
    cells = [[line.get(name, "-") for name in headers] for line in lines.values()]
    return f"## {name.capitalize()}\n\n{render(headers, cells, markdown=True)}"


def _facts(row: Row) -> dict[str, str]:
    """Return the cells of a row that do not depend on what it is compared with."""
    return {
        "contender": row["contender"],
        "shape": SHAPE_TITLES[row["shape"]],
        "inputs": row["inputs"] or "-" if row["length"] is None else f"{row['length']} tokens",
        "batch": number(row["batch_size"], 0),
        "threads": number(row["threads"], 0),
        "batches": _batches(row),
        "dtype": row["dtype"],
        **{f"ms {p}": number(row[f"latency_ms_{p}"], 2) for p in ("p50", "p95", "p99")},
        "examples/s": number(row["examples_per_s"], 1),
        "peak MiB": number(row["peak_mib"], 0),
        "over loaded": number(row["over_loaded_mib"], 0),
        "FLOPs": number(row["flops_ratio"]),
        "left early": number(row["left_early"], 2),
        "not measured": row["not_measured"] or "-",
    }


def _batches(row: Row) -> str:
    """Count the batches of a round that were timed one by one."""
    if row["speedup"] is None:
        return "-"
    return "1" if row["part"] == "training" else str(row["examples"] // row["batch_size"])


def _cell(measured: Measured, figure: Figure) -> str:
    interval = "" if measured.low is None else f" [{measured.low:.2f}, {measured.high:.2f}]"
    missed = "" if measured.reaches(figure) else ", missed"
    return f"{measured.value:.2f}{_unit(figure)}{interval}{missed}"


def _unit(figure: Figure) -> str:
    return "x" if figure.column == "speedup" and not figure.at_most else ""


def _title(column: Column) -> str:
    dtype, threads = column
    return f"{dtype}, {threads} thread{'' if threads == 1 else 's'}"


def _kind(rows: Sequence[Row]) -> str:
    return "cpu" if rows[0]["device"] == "cpu" else "cuda"
