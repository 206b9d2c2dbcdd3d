"""Write what `eat.evaluation.profile` measured: tables of operators and facts."""

import json
from pathlib import Path

from eat.benchmark.profile import PROFILE, REST
from eat.evaluation.profile import Profiled
from eat.evaluation.report.table import in_cell, number, render
from eat.exits.points import OperatingPoint
from eat.files import write_text

MOST = 12
"""Operators of a table; the others are one line."""
HEADERS = ("operator", "µs a text", "share", "calls a text")
READING = """Times are an operator's own, with the profiler of the library that runs it switched on, which slows every
call by a little: shares are of that time. In brackets what a text takes without it. Batches hold texts as they come."""


def write_profiles(profiled: Profiled, folder: Path) -> str:
    """Write profile.csv, .json and .md to a folder; return the page."""
    parts = [f"# Where the time goes: {profiled.task}, {profiled.split} split, {profiled.machine['cpu']}", READING]
    for name, about in profiled.candidates.items():
        rows = [row for row in profiled.rows if row["name"] == name]
        (rest,) = (row for row in rows if row["operator"] == REST)
        operators = [row for row in rows if row is not rest]
        lines = [_line(row["operator"], row["us_per_text"], row["share"], row["calls_per_text"]) for row in operators]
        if len(operators) > MOST + 1:
            others = operators[MOST:]
            sums = (sum(row[key] for row in others) for key in ("us_per_text", "share", "calls_per_text"))
            lines[MOST:] = [_line(f"{len(others)} others", *sums)]
        lines.append(_line(REST, rest["us_per_text"], rest["share"], None))
        point = "" if about["exit"] is None else f", {OperatingPoint.of(about['exit']).label}"
        threads = f"{about['threads']} thread{'s' * (about['threads'] > 1)}"
        parts.append(
            f"## {name}\n\n{about['engine']}{point}, batches of {about['batch_size']}, {threads} "
            f"({number(about['us_per_text'], 0)} µs a text)\n\n{render(HEADERS, lines, markdown=True)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    PROFILE.write(folder / "profile.csv", profiled.rows)
    facts = {"task": profiled.task, "split": profiled.split, "machine": profiled.machine}
    text = json.dumps({**facts, "candidates": profiled.candidates}, indent=2)
    write_text(folder / "profile.json", text + "\n")
    page = "\n\n".join(parts) + "\n"
    write_text(folder / "profile.md", page)
    return page


def _line(operator: str, microseconds: float, share: float, calls: float | None) -> list[str]:
    return [in_cell(operator), number(microseconds, 1), f"{share:.1%}", "-" if calls is None else number(calls, 2)]
