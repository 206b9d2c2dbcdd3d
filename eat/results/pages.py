"""Pages that show results: rewritten from committed files, and checked against them without heavy work."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from eat.files import read_object, write_text
from eat.results.ablation import MANIFEST
from eat.results.collect import superseded
from eat.results.markers import digest, find, laid_out, without_code
from eat.results.sources import digest_files, file_digest

_RESULT = re.compile(r"\d\.\d|\d ?%|\d(?:\.\d+)?x\b|[+±]\d")
_RULER = re.compile(r"\s*\|[\s:|-]+$")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def rewrite(page: Path, root: Path) -> bool:
    """Make every marked part of a page anew; return whether anything changed.

    Raises:
        FileNotFoundError: If a source is not there.
        ValueError: If a marker does not fit, or its source is superseded; names page and line.
    """
    text = page.read_text(encoding="utf-8")
    parts, end = [], 0
    try:
        for marker in find(text):
            line = text.count("\n", 0, marker.start) + 1
            try:
                made = marker.make(root)
                for reason in _superseded(root, made.sources):
                    raise ValueError(reason)
                parts += [text[end : marker.start], marker.text(root, made)]
            except (OSError, ValueError) as error:
                raise type(error)(f"line {line}: {error}") from error
            end = marker.end
    except ValueError as error:
        raise ValueError(f"{page}: {error}") from error
    new = "".join([*parts, text[end:]])
    if new != text:
        write_text(page, new)
    return new != text


def check(page: Path, root: Path) -> list[str]:
    """List what is stale in a page: sources that changed or are superseded, other text, numbers outside markers."""
    text, name = page.read_text(encoding="utf-8"), page.name
    found: list[str] = []
    try:
        found += [f"{name}:{line}: a result outside markers: {cell}" for line, cell in unmarked(text)]
        for marker in find(text):
            where = f"{name}:{text.count(chr(10), 0, marker.start) + 1}: eat:{marker.name}"
            try:
                made = marker.make(root)
                found += [f"{where}: {reason}" for reason in _superseded(root, made.sources)]
                if digest(root, made.sources) != marker.sha256:
                    found.append(f"{where}: {', '.join(made.sources)} changed; run `make tables`")
                elif laid_out(made.text) != marker.body:
                    found.append(f"{where}: another text than its source has; run `make tables`")
            except (OSError, ValueError) as error:
                found.append(f"{where}: {error}")
    except ValueError as error:
        found.append(f"{name}: {error}")
    return found


def check_manifests(folder: Path) -> list[str]:
    """List the ablation tables below a folder that were changed, or that changed or superseded runs stand behind."""
    found = []
    for manifest in sorted(folder.rglob(MANIFEST)):
        where, facts = manifest.parent, read_object(manifest)
        for name, noted in facts["files"].items():
            if not (where / name).is_file() or file_digest(where / name) != noted:
                found.append(f"{where / name}: other bytes than were written; run `make tables`")
        for name, noted in facts["runs"].items():
            reason = superseded(where / name)
            if reason is not None or digest_files(where / name) != noted:
                found.append(f"{manifest}: {name} {reason or 'changed'}; run `make tables`")
    return found


def unmarked(page: str) -> Iterator[tuple[int, str]]:
    """Yield line and cell of every result in a table that stands outside markers: a decimal, a percentage, a ratio.

    Headings, the first column, links and code are no results.
    """
    shadow = list(without_code(page))
    for marker in find(page):
        for place in range(marker.start, marker.end):
            shadow[place] = shadow[place] if shadow[place] in "\n|" else " "
    text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), "".join(shadow))
    lines = text.split("\n")
    for number, (line, following) in enumerate(zip(lines, [*lines[1:], ""], strict=True), 1):
        if not line.lstrip().startswith("|") or _RULER.match(following):
            continue
        for cell in re.sub(r"\]\([^)]*\)", "]", line).strip()[1:].removesuffix("|").split("|")[1:]:
            if _RESULT.search(cell):
                yield number, cell.strip()


def _superseded(root: Path, sources: Iterable[str]) -> Iterator[str]:
    """Yield why a source no longer counts: a folder that it lies in is superseded."""
    for source in sources:
        for parent in Path(source).parents:
            reason = superseded(root / parent)
            if reason is not None:
                yield f"{parent} is {reason}"
