"""What a campaign counts: inputs and failures by kind, each failure with the seeds that repeat it; and its summary."""

from __future__ import annotations

import dataclasses
import json
import platform
import random
import re
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from eat.files import write_text
from eat.runs.environment import commit

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "reliability"
SHOWN = 20  # failures of a kind in a summary
SEEDS = 5  # of each of them
PACKAGES = ("torch", "transformers", "numpy", "pyarrow", "hydra-core", "lightning")


class Case:
    """One seed of a kind: its random numbers, what it counted, and what went wrong."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.problems: dict[str, str] = {}
        self.about = ""  # what was drawn, where that helps to understand a failure

    def count(self, **numbers: int) -> None:
        """Add to the counts; ``inputs`` is what the campaign is measured by."""
        self.counts.update(numbers)

    def fail(self, what: str, message: object = "") -> None:
        """Note a failure; ``what`` is the same for failures of one cause, ``message`` says what came this time."""
        self.problems.setdefault(what, without_folders(f"{self.about} {message}".strip())[:400])


Check = Callable[[Case], None]


def run_case(check: Check, seed: int) -> Case:
    """Run one case; an exception that the check did not expect is a failure like any other."""
    case = Case(seed)
    try:
        check(case)
    except Exception as error:
        case.fail(f"{type(error).__name__} in {place(error)}", one_line(error))
    return case


@dataclasses.dataclass
class Tally:
    """What the cases of one kind came to."""

    seeds: list[list[int]] = dataclasses.field(default_factory=list)  # ranges, the end excluded
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # by what went wrong

    def add(self, case: Case) -> None:
        """Add a case; seeds come in ascending order."""
        if self.seeds and self.seeds[-1][1] == case.seed:
            self.seeds[-1][1] += 1
        else:
            self.seeds.append([case.seed, case.seed + 1])
        self.counts.update(case.counts)
        for what, message in case.problems.items():
            failure = self.failures.setdefault(what, {"cases": 0, "seeds": [], "message": message})
            failure["cases"] += 1
            failure["seeds"] = [*failure["seeds"], case.seed][:SEEDS]

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add another process's tally of the same kind, as its summary has it.

        Raises:
            ValueError: If both ran a seed: its inputs would count twice.
        """
        for start, end in other["seeds"]:
            if any(start < mine[1] and mine[0] < end for mine in self.seeds):
                raise ValueError(f"seeds: expected other ones than {self.seeds}, got {start} to {end - 1} again")
        self.seeds = sorted([*self.seeds, *map(list, other["seeds"])])
        self.counts.update(other["counts"])
        for what, failure in other["failures"].items():
            mine = self.failures.setdefault(what, {"cases": 0, "seeds": [], "message": failure["message"]})
            mine |= {"mended": failure["mended"]} if "mended" in failure else {}
            mine["cases"] += failure["cases"]
            mine["seeds"] = [*mine["seeds"], *failure["seeds"]][:SEEDS]


def summarise(title: str, tallies: Mapping[str, Tally], *, again: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return a campaign's summary as JSON values; ``again`` is the command that repeats a seed."""
    kinds = {
        kind: {
            "seeds": tally.seeds,
            "counts": dict(sorted(tally.counts.items())),
            "failed": len(tally.failures),
            "failures": dict(sorted(tally.failures.items(), key=lambda item: -item[1]["cases"])[:SHOWN]),
        }
        for kind, tally in tallies.items()
    }
    total = {name: sum(tally.counts[name] for tally in tallies.values()) for name in ("inputs",)}
    packages = {name: metadata.version(name) for name in PACKAGES}
    versions = {"python": platform.python_version(), **packages}
    about = {"title": title, "commit": commit(), "versions": versions, "again": again, "notes": list(notes)}
    return {**about, "total": total, "kinds": kinds}


def merged(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several processes' summaries as one, which names all of their commits, with the text of the last.

    What an earlier commit failed may be mended since: its failure then says how, under ``mended``.
    """
    first, last = summaries[0], summaries[-1]
    for summary in summaries[1:]:
        for key in ("title", "versions"):
            if summary[key] != first[key]:
                raise ValueError(f"{key}: expected summaries of the same, got {first[key]!r} and {summary[key]!r}")
    commits = dict.fromkeys(commit for summary in summaries for commit in summary["commit"].split(" and "))
    tallies: dict[str, Tally] = {}
    for summary in summaries:
        for kind, values in summary["kinds"].items():
            tallies.setdefault(kind, Tally()).merge(values)
    whole = summarise(last["title"], tallies, again=last["again"], notes=last["notes"])
    return whole | {"commit": " and ".join(commits)}


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write a summary as JSON and, beside it, as Markdown."""
    write_text(path.with_suffix(".json"), json.dumps(summary, indent=1) + "\n")
    write_text(path.with_suffix(".md"), markdown(summary))


def markdown(summary: Mapping[str, Any]) -> str:
    """Lay a summary out for readers."""
    lines = [f"# {summary['title']}", "", *(f"{note}\n" for note in summary["notes"])]
    lines += [f"{summary['total']['inputs']:,} inputs. Commit {summary['commit']}. Versions:"]
    lines += [", ".join(f"{name} {version}" for name, version in summary["versions"].items()) + ".", ""]
    lines += ["| kind | inputs | causes of failure | seeds | counted |", "| --- | ---: | ---: | --- | --- |"]
    for kind, values in summary["kinds"].items():
        seeds = ", ".join(f"{start} to {end - 1}" for start, end in values["seeds"])
        counted = ", ".join(f"{name} {n:,}" for name, n in values["counts"].items() if name != "inputs")
        inputs = values["counts"].get("inputs", 0)
        lines.append(f"| {kind} | {inputs:,} | {values['failed']} | {seeds} | {counted} |")
    lines += ["", "## Failures", ""]
    for kind, values in summary["kinds"].items():
        for what, failure in values["failures"].items():
            seeds = ", ".join(map(str, failure["seeds"]))
            mended = f" Mended: {failure['mended']}" if "mended" in failure else ""
            said = f"{what}. {failure['message']}".rstrip()
            lines.append(f"- **{kind}**, {failure['cases']} cases, seeds {seeds}: {said}{mended}")
    if not any(values["failures"] for values in summary["kinds"].values()):
        lines.append("None.")
    return "\n".join([*lines, "", f"One seed again: `{summary['again']}`", ""])


def place(error: BaseException) -> str:
    """Say where an exception was raised: the innermost frame in this project, as a path within it and a function."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename]
    frame = (ours or frames or [None])[-1]
    if frame is None:
        return "nowhere"
    path = Path(frame.filename)
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{frame.name}"


def one_line(error: BaseException) -> str:
    """Return an exception's text in one line, without this machine's folders."""
    return without_folders(f"{type(error).__name__}: {error}")[:400]


def without_folders(text: str) -> str:
    """Return a text in one line, with the names of files instead of their absolute paths."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\",]+/)+", "", text.replace("\n", "\\n"))
