"""Put a finished run under LoadGen and record what it says: numbers, table, figure, LoadGen's own summaries."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.checks import shown
from eat.evaluation.loadgen import CONTENDERS, LoadGenRun, title_of
from eat.evaluation.report.table import number, render
from eat.exits.points import OperatingPoint
from eat.files import read_object, write_text
from eat.results.figures.loadgen import draw_loadgen
from eat.tables import Row, Table

FILE = "loadgen"
LOADGEN = Table(
    (
        *("contender", "engine", "exit", "certified", "accuracy", "scenario", "valid", "queries_per_s"),
        *("latency_ms_p50", "latency_ms_p90", "latency_ms_p99", "server_qps", "server_runs", "fails_at_qps"),
        *("latency_ms", "seconds", "batch_size", "threads"),
    ),
    text=frozenset({"contender", "engine", "exit", "certified", "scenario", "valid"}),
    counts=frozenset({"server_runs", "batch_size", "threads"}),
)
"""What loadgen.csv holds; ``server_qps`` is the rate that LoadGen scheduled in the fastest valid run of the server
scenario, ``fails_at_qps`` the lowest rate asked for that was not valid."""
OF_RUN = ("run", "weights", "task", "split", "texts", "seconds", "batch_size", "latency_ms", "server_runs", "threads")
HEADERS = (
    *("contender", "operating point", "accuracy"),
    *("single stream p90 (ms)", "offline (texts/s)", "server (queries/s)"),
)
READING = """LoadGen {version} ([MLPerf Inference](https://arxiv.org/abs/1911.02549)), our model and data: no MLPerf
result, whose models, data and rules are others. It draws from the {texts} texts of the {split} split, tokenised
beforehand. Single stream: the next query comes when the one before is answered; 90th percentile. Offline: all at once.
Server: single queries by a Poisson process; the highest rate, as LoadGen scheduled it, at which it finds with 99 %
confidence that 99 % are answered within {latency_ms:g} ms, of at most {server_runs} runs: from the rate of full batches
halved or doubled, then bisected; "below" the lowest rate tried where none was valid. Each run lasts {seconds:g} s or
more. Up to {batch_size} texts that wait share a call; {threads} thread{s} inside operators. A star: LoadGen did not
find the run valid. `summaries/` holds its own words on every run that is reported."""


def record_loadgen(run: LoadGenRun, folder: Path, *, fresh: bool = False, title: str | None = None) -> str:
    """Measure what is not recorded yet, each contender's scenario kept as soon as it is there; return the table.

    Args:
        run: What is measured.
        folder: Gets loadgen.json, .csv, .md, .png, .pdf and LoadGen's summaries.
        fresh: Whether what is recorded there is measured again.
        title: Of the table and the figure; None says task, split, processor and threads.

    Raises:
        ValueError: If the folder holds results of another run, other settings or another machine.
    """
    path, facts = folder / f"{FILE}.json", run.facts()
    results: dict[str, dict[str, Any]] = {} if fresh else _recorded(path, facts)
    known = {(name, scenario) for name, scenarios in results.items() for scenario in scenarios}
    for name, scenario, found, summary in run.measure(known):
        results.setdefault(name, {})[scenario] = found
        write_text(folder / "summaries" / f"{name}-{scenario}.txt", summary)
        write_text(path, json.dumps({**facts, "absent": run.absent, "results": results}, indent=2) + "\n")
    return write_loadgen({**facts, "absent": run.absent, "results": results}, folder, title)


def write_loadgen(recorded: Mapping[str, Any], folder: Path, title: str | None = None) -> str:
    """Write table and figure of what a loadgen.json holds; return the table for people."""
    threads, machine = recorded["threads"], recorded["machine"]
    s = "s" * (threads > 1)
    title = title or f"{recorded['task']}, {recorded['split']} split, {machine['cpu']}, {threads} thread{s}"
    rows = rows_of(recorded)
    LOADGEN.write(folder / f"{FILE}.csv", rows)
    names = dict.fromkeys(row["contender"] for row in rows)
    lines = [_line(name, [row for row in rows if row["contender"] == name]) for name in names]
    reading = READING.format(version=machine["mlcommons-loadgen"], s=s, **{key: recorded[key] for key in OF_RUN})
    absent = "".join(f"\n- left out: {name}: {reason}" for name, reason in recorded["absent"].items())
    table = render(HEADERS, lines, markdown=True)
    page = f"# LoadGen, our model and data: {title}\n\n{table}\n\n{reading}\n{absent and absent + chr(10)}\n"
    write_text(folder / f"{FILE}.md", f"{page}![]({FILE}.png)\n")
    draw_loadgen(rows, folder / FILE, f"LoadGen, our model and data: {title}")
    return f"{title}\n{render(HEADERS, lines)}"


def rows_of(recorded: Mapping[str, Any]) -> list[Row]:
    """Lay out the results in a loadgen.json as rows of `LOADGEN`."""
    asked = {key: recorded[key] for key in ("latency_ms", "seconds", "batch_size", "threads")}
    return [
        LOADGEN.row(
            contender=name,
            engine=found["engine"],
            exit=None if found["exit"] is None else OperatingPoint.of(found["exit"]).label,
            certified="yes" if found["certified"] else "no",
            accuracy=found["accuracy"],
            scenario=scenario,
            valid="yes" if found["valid"] else "no",
            queries_per_s=found["queries_per_s"],
            **{f"latency_ms_p{percentile}": value for percentile, value in found["latency_ms"].items()},
            server_qps=found["server_qps"] if found["valid"] else None,
            server_runs=len(found["tried"]) or None,
            fails_at_qps=min((one["asked_qps"] for one in found["tried"] if not one["valid"]), default=None),
            **asked,
        )
        for name, scenarios in sorted(recorded["results"].items(), key=_place)
        for scenario, found in scenarios.items()
    ]


def _place(result: tuple[str, Any]) -> int:
    """Order contenders as they take turns, whenever they were measured; those of other packages at the end."""
    return (*CONTENDERS, result[0]).index(result[0])


def _recorded(path: Path, facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the results that a file holds, none where there is no file; others than these facts are refused."""
    if not path.is_file():
        return {}
    there = read_object(path)
    noted = _flat(there)
    # Which products are the fastest is measured anew in every process.
    now = {key: value for key, value in _flat(facts).items() if key != "machine.kernels"}
    for key, value in now.items():
        if (before := noted.get(key)) != value:
            raise ValueError(
                f"output: {path} holds results with another {key} ({shown(before)}, now {shown(value)}); fresh=true "
                "measures all of them anew, another folder keeps them"
            )
    results: dict[str, dict[str, Any]] = there["results"]
    return results


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    machine = facts.get("machine") or {}
    return {key: facts.get(key) for key in OF_RUN} | {f"machine.{key}": value for key, value in machine.items()}


def _line(name: str, rows: Sequence[Row]) -> list[str]:
    """Lay out a contender's scenarios as a line of the table."""
    by_scenario = {row["scenario"]: row for row in rows}

    def cell(scenario: str, column: str, digits: int) -> str:
        row = by_scenario.get(scenario)
        if row is None:
            return "-"
        if scenario == "server" and row["valid"] == "no":
            return f"below {number(row['fails_at_qps'], 1)}"
        return number(row[column], digits) + "*" * (row["valid"] == "no")

    first = rows[0]
    point = "-" if first["exit"] is None else first["exit"] + ", certified" * (first["certified"] == "yes")
    return [
        title_of(name),
        point,
        number(first["accuracy"], 4),
        cell("single_stream", "latency_ms_p90", 2),
        cell("offline", "queries_per_s", 1),
        cell("server", "server_qps", 1),
    ]
