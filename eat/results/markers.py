"""Markers around what a page shows of results: what it was made of, so that it can be made anew and never is stale.

A number within a sentence, and a table, whose longer arguments are YAML on the marker's further lines::

    <!-- eat:value source=results/a/report/frontier.csv own=true column=value sha256=0123456789ab -->0.8784<!-- /eat -->

    <!-- eat:table sha256=0123456789ab
    columns: [{title: accuracy, column: value}]
    lines: [{label: ours, source: results/a/report/frontier.csv, own: true}]
    -->
    ...
    <!-- /eat -->

The hash is the start of the source's SHA-256; of several sources, of their list with each one's hash.
"""

import dataclasses
import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from eat.checks import closest, one_line
from eat.results.generators import GENERATORS, Made, names
from eat.results.sources import file_digest

_MARKED = re.compile(r"<!-- eat:(?P<head>[^\n]*?)(?:\n(?P<spec>.*?))?-->(?P<body>.*?)<!-- /eat -->", re.DOTALL)
_STRAY = re.compile(r"<!-- (?:eat:|/eat)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_SHORT = 12  # hexadecimal digits of a hash in a marker


@dataclasses.dataclass(frozen=True)
class Marker:
    """One marked part of a page."""

    start: int  # where its opening marker begins
    end: int  # where its closing marker ends
    name: str  # of the generator
    arguments: dict[str, Any]  # of the opening marker, the hash left out
    opening: str  # the opening marker as it stands, without comment signs and hash
    spec: str  # the lines of YAML in it, each with its end
    sha256: str  # as it stands; empty where there is none yet
    body: str  # what stands between the markers

    def make(self, root: Path) -> Made:
        """Make the text anew.

        Raises:
            ValueError: If no generator has this name, or its arguments do not fit.
        """
        if self.name not in GENERATORS:
            raise ValueError(f"eat:{self.name}: expected one of {names()}{closest(self.name, names())}")
        try:
            return GENERATORS[self.name](root, self.arguments)
        except KeyError as error:
            raise ValueError(f"eat:{self.name}: {error} is missing") from error

    def text(self, root: Path, made: Made) -> str:
        """Return the part as it must stand in the page."""
        head = f"<!-- {self.opening} sha256={digest(root, made.sources)}"
        lines = f"\n{self.spec}-->" if self.spec else " -->"
        return f"{head}{lines}{laid_out(made.text)}<!-- /eat -->"


def find(page: str) -> Iterator[Marker]:
    """Yield the marked parts of a page; what stands in code is none.

    Raises:
        ValueError: If an opening or a closing marker stands alone, or cannot be read.
    """
    shadow = without_code(page)
    stray = list(shadow)
    for match in _MARKED.finditer(shadow):
        stray[match.start() : match.end()] = " " * (match.end() - match.start())
        yield _marker(page, match)
    alone = _STRAY.search("".join(stray))
    if alone:
        line = page.count("\n", 0, alone.start()) + 1
        raise ValueError(f"line {line}: a marker stands alone: {page[alone.start() : alone.start() + 40]!r}")


def without_code(page: str) -> str:
    """Return a page with blanks in place of fenced code and code spans outside markers; every place stays."""
    kept = [match.span() for match in re.finditer(r"<!-- eat:.*?-->", page, re.DOTALL)]

    def blank(match: re.Match[str]) -> str:
        inside = any(start <= match.start() and match.end() <= end for start, end in kept)
        fenced = match[0].startswith("```")
        return match[0] if inside and not fenced else re.sub(r"[^\n]", " ", match[0])

    return _CODE.sub(blank, page)


def digest(root: Path, sources: tuple[str, ...]) -> str:
    """Return what a marker says of its sources."""
    digests = [file_digest(root / source)[:_SHORT] for source in sources]
    if len(sources) == 1:
        return digests[0]
    lines = "".join(f"{source} {own}\n" for source, own in zip(sources, digests, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()[:_SHORT]


def laid_out(text: str) -> str:
    """Return text as it stands between markers: in a line, or as a paragraph of its own."""
    return f"\n\n{text}\n\n" if "\n" in text else text


def _marker(page: str, match: re.Match[str]) -> Marker:
    line = page.count("\n", 0, match.start()) + 1
    head = page[slice(*match.span("head"))]
    spec = page[slice(*match.span("spec"))] if match["spec"] else ""
    try:
        name, *words = shlex.split(head)
        given = dict(word.split("=", 1) for word in words)
        more = yaml.safe_load(spec) if spec else {}
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"line {line}: a marker cannot be read ({one_line(error)})") from error
    if not isinstance(more, dict):
        raise ValueError(f"line {line}: expected key: value on a marker's further lines, got {type(more).__name__}")
    sha256 = given.pop("sha256", "")
    opening = re.sub(r"\s*sha256=\S*", "", f"eat:{head.strip()}")
    body = page[slice(*match.span("body"))]
    return Marker(match.start(), match.end(), name, {**given, **more}, opening, spec, sha256, body)
