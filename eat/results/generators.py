"""What may stand between a page's markers, by name: each makes its text anew from committed files."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eat.evaluation.report.table import number, render
from eat.results.lookup import KEYS, look_up, sources_of

Arguments = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Made:
    """What a generator made."""

    text: str
    sources: tuple[str, ...]  # the files it was made of, relative to the root


def value(root: Path, arguments: Arguments) -> Made:
    """Write one number; an argument that `look_up` does not know says what a column holds in its row."""
    spec = _with_where(arguments)
    return Made(look_up(root, spec), tuple(sources_of(spec)))


def table(root: Path, arguments: Arguments) -> Made:
    """Lay out a table whose every cell is looked up.

    ``columns`` and ``lines`` are lists of mappings. What a cell looks up is what both say, a column's ``title`` and a
    line's ``label`` aside; ``each`` of a line lists several numbers for each cell, and a ``cells`` mapping gives what
    stands in a column instead, by its title. ``corner`` is the heading of the labels.
    """
    sources: dict[str, None] = {}
    lines = []
    for line in arguments["lines"]:
        cells = [str(line["label"])]
        for column in arguments["columns"]:
            if column["title"] in (fixed := line.get("cells") or {}):
                cells.append(str(fixed[column["title"]] or ""))
                continue
            specs = [_merged(arguments, column, line, each) for each in line.get("each") or [{}]]
            sources.update(dict.fromkeys(source for spec in specs for source in sources_of(spec)))
            cells.append(" / ".join(look_up(root, spec) for spec in specs))
        lines.append(cells)
    headers = [str(arguments.get("corner") or ""), *(str(column["title"]) for column in arguments["columns"])]
    return Made(render(headers, lines, markdown=True), tuple(sources))


def found(root: Path, arguments: Arguments) -> Made:
    """Quote what the one group of ``pattern``, a regular expression, matches in a text, such as a report's summary.

    ``digits`` writes it as a number with so many after the point.
    """
    source = str(arguments["source"])
    try:
        matches = set(re.findall(str(arguments["pattern"]), (root / source).read_text(encoding="utf-8"), re.MULTILINE))
    except re.error as error:
        raise ValueError(f"pattern: expected a regular expression, got {arguments['pattern']!r} ({error})") from error
    if len(matches) != 1:
        raise ValueError(f"pattern: expected one match in {source}, got {len(matches)}")
    (text,) = matches
    if not isinstance(text, str):
        raise ValueError(f"pattern: expected one group, got {len(text)}")
    return Made(number(text, int(arguments["digits"])) if "digits" in arguments else text, (source,))


def ablation(root: Path, arguments: Arguments) -> Made:
    """Show the tables of an ``ablation.md``, or the one under the heading ``section``."""
    source = str(arguments["source"])
    parts = (root / source).read_text(encoding="utf-8").split("\n## ")[1:]
    sections = dict(part.split("\n", 1) for part in parts)
    wanted = arguments.get("section")
    if wanted is not None and wanted not in sections:
        raise ValueError(f"section: expected one of {sorted(sections)}, got {wanted!r}")
    shown = [wanted] if wanted is not None else [name for name in sections if "| experiment" in sections[name]]
    text = "\n\n".join(f"**{name}**\n\n{sections[name].partition('Value: mean')[0].strip()}" for name in shown)
    return Made(text, (source,))


GENERATORS: Mapping[str, Callable[[Path, Arguments], Made]] = {
    "value": value,
    "found": found,
    "table": table,
    "ablation": ablation,
}
"""Name in a marker -> what makes the text."""


def _with_where(arguments: Arguments) -> dict[str, Any]:
    spec = {key: item for key, item in arguments.items() if key in KEYS}
    more = {key: item for key, item in arguments.items() if key not in KEYS}
    return spec | {"where": dict(spec.get("where") or {}) | more}


def _merged(*parts: Arguments) -> dict[str, Any]:
    """Merge what a table, a column, a line and a number say; later ones win, conditions add up."""
    spec: dict[str, Any] = {"where": {}}
    for part in parts:
        own = {key: item for key, item in part.items() if key in KEYS}
        spec = spec | own | {"where": spec["where"] | dict(own.get("where") or {})}
    return spec


def names() -> Sequence[str]:
    """Return the names of all generators."""
    return sorted(GENERATORS)
