"""Write what `eat.evaluation.queries` measured: table, figure and facts."""

import json
from pathlib import Path

from eat.benchmark.queries import QUERIES
from eat.evaluation.queries import MeasuredRuns
from eat.evaluation.report.table import in_cell, number, points_text, render
from eat.files import write_text
from eat.results.figures.queries import draw_families, draw_queries

HEADERS = ("classifier", "size (MiB)", "latency (ms)", "accuracy", "points over the first")
READING = """Size is that of the weights on disk. Latency is the mean and standard deviation over {queries} single texts
after warm-ups, tokenising included; all take turns at each text. Accuracy is over all {examples} texts of the {split}
split, its difference paired, with a 95 % interval."""


def write_queries(measured: MeasuredRuns, folder: Path, title: str | None = None) -> str:
    """Write queries.csv, .md, .json, .png and .pdf to a folder, and a figure of families; return the table."""
    threads = measured.rows[0]["threads"]
    title = title or (
        f"{measured.task}, {measured.split} split, {measured.machine['cpu']}, {threads} thread{'s' * (threads > 1)}"
    )
    lines = [
        [
            in_cell(row["name"]),
            number(row["size_mib"], 1),
            f"{number(row['latency_ms_mean'], 2)} ± {number(row['latency_ms_std'], 2)}",
            number(row["accuracy"], 4),
            points_text(
                None if row["delta_points"] is None else [row[f"delta_{of}"] for of in ("points", "low", "high")]
            ),
        ]
        for row in measured.rows
    ]
    folder.mkdir(parents=True, exist_ok=True)
    QUERIES.write(folder / "queries.csv", measured.rows)
    facts = {"task": measured.task, "split": measured.split, "machine": measured.machine}
    write_text(folder / "queries.json", json.dumps({**facts, "candidates": measured.candidates}, indent=2) + "\n")
    reading = READING.format(split=measured.split, **{key: measured.rows[0][key] for key in ("queries", "examples")})
    figures = {"queries": draw_queries}
    if any(row["family"] for row in measured.rows):
        figures["families"] = draw_families
    for name, draw in figures.items():
        draw(measured.rows, folder / name, title)
    pictures = "\n\n".join(f"![]({name}.png)" for name in figures)
    page = f"# {title}\n\n{render(HEADERS, lines, markdown=True)}\n\n{reading}\n\n{pictures}\n"
    write_text(folder / "queries.md", page)
    return f"{title}\n{render(HEADERS, lines)}"
