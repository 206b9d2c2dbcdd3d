"""Results as rows: one set of columns everywhere, empty where nothing was measured."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.files import write_text

COLUMNS = (
    *("experiment", "run", "commit", "task", "split", "data", "budget", "model", "backbone", "num_layers"),
    *("attention", "window", "pruner", "depths", "ratio", "head_depths", "head_pooling", "objective"),
    *("exit", "threshold", "patience", "seed", "examples"),
    *("metric", "value", "delta_points", "delta_low", "delta_high", "ece"),
    *("avg_depth", "retention", "gflops", "flops_ratio"),
    *("engine", "batch_size", "threads", "device", "dtype"),
    *("latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "examples_per_s"),
    *("baseline", "speedup", "speedup_low", "speedup_high"),
    *("speedup_tokenised", "speedup_tokenised_low", "speedup_tokenised_high", "efficiency"),
    *("peak_memory_mib", "peak_memory_over_loaded_mib", "note"),
)
"""The columns of any results table, in order; later ones may be missing in older files."""

NUM_FIRST_COLUMNS = COLUMNS.index("speedup_high") + 1
"""So many every file has."""

NUMERIC = frozenset(
    {
        *("num_layers", "window", "threshold", "patience", "seed", "examples"),
        *("value", "delta_points", "delta_low", "delta_high", "ece", "avg_depth", "retention", "gflops", "flops_ratio"),
        *("batch_size", "threads", "latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "examples_per_s"),
        *("speedup", "speedup_low", "speedup_high"),
        *("speedup_tokenised", "speedup_tokenised_low", "speedup_tokenised_high", "efficiency"),
        *("peak_memory_mib", "peak_memory_over_loaded_mib"),
    }
)
"""Those that hold one number (`threshold`: or a list, one per class); the others are text (a commit may look like a
number, depths are lists)."""

Row = dict[str, Any]


def make_row(**values: Any) -> Row:
    """Build a row from the values that were measured; all other columns stay empty (None).

    Raises:
        ValueError: If a name is no column.
    """
    unknown = sorted(set(values) - set(COLUMNS))
    if unknown:
        raise ValueError(f"no such results columns: {unknown}; expected some of {list(COLUMNS)}")
    return {column: values.get(column) for column in COLUMNS}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with all `COLUMNS`, whole or not at all.

    Raises:
        OSError: If writing fails; the old file stays.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _cell(row.get(column)) for column in COLUMNS} for row in rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Read rows back: empty cells as None, `NUMERIC` ones as int, float or list of float, the others as text (``2;4``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its header is not `COLUMNS`, or the first of them, as older files have it.
    """
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        known = tuple(reader.fieldnames or ())
        if known != COLUMNS[: max(len(known), NUM_FIRST_COLUMNS)]:
            raise ValueError(f"{path}: expected the results columns {list(COLUMNS)}, got {reader.fieldnames}")
        return [{column: _value(column, row.get(column, "")) for column in COLUMNS} for row in reader]


def render(headers: Sequence[str], lines: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Lay out cells as an aligned table; the first column to the left, the others to the right.

    Args:
        headers: One name per column.
        lines: One sequence of cells per line.
        markdown: With pipes, as GitHub shows tables.
    """
    table = [list(headers), *(list(line) for line in lines)]
    widths = [max(len(line[i]) for line in table) for i in range(len(headers))]

    def laid_out(line: Sequence[str]) -> str:
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return "| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip()

    dashes = ["-" * w if i == 0 or not markdown else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    ruler = "| " + " | ".join(dashes) + " |" if markdown else "  ".join(dashes)
    return "\n".join([laid_out(table[0]), ruler, *map(laid_out, table[1:])])


def number(value: Any, digits: int = 3, suffix: str = "") -> str:
    """Format a measured number; a dash where there is none."""
    return "-" if value is None or value == "" else f"{float(value):.{digits}f}{suffix}"


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ";".join(str(v) for v in value)
    return "" if value is None else value


def _value(column: str, text: str) -> Any:
    if text == "":
        return None
    if column not in NUMERIC:
        return text
    if ";" in text:
        return [float(number) for number in text.split(";")]
    return int(text) if text.lstrip("-").isdigit() else float(text)
