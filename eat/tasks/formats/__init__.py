"""File formats of a user's own data: CSV, TSV, JSONL, JSON and Parquet, read strictly into columns."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from eat.checks import shown, true_or_false
from eat.tasks.formats.delimited import DELIMITERS, Dialect, read_delimited
from eat.tasks.formats.json_lines import read_json_array, read_json_lines
from eat.tasks.formats.parquet import read_parquet
from eat.tasks.formats.table import Table
from eat.tasks.formats.text_lines import ZIPPED

__all__ = ["DELIMITERS", "INSTEAD", "Dialect", "Table", "check_dialect", "format_suffix", "read_table"]

DELIMITED = {".csv": ",", ".tsv": "\t"}
"""Suffixes of files with a delimiter, and what it is where the header does not say otherwise."""

_OTHERS: Mapping[str, Callable[[Path, Mapping[str, str]], Table]] = {
    ".jsonl": read_json_lines,
    ".json": read_json_array,
    ".parquet": read_parquet,
}
INSTEAD = {
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar"), "unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as 'CSV UTF-8'"),
    **dict.fromkeys((".txt", ".tab", ".dat", ".psv"), "rename it .csv or .tsv if its first line names the columns"),
    ".ndjson": "rename it .jsonl",
}


def read_table(path: str | Path, wanted: Mapping[str, str], *, option: str, dialect: Dialect | None = None) -> Table:
    """Read some columns of a file; its format is told by its suffix.

    Text files are UTF-8, with or without a byte-order mark, packed by gzip where their name ends in .gz. CSV and TSV
    have a header line; fields that hold the delimiter or a line break stand in double quotes, a quote inside is doubled
    (RFC 4180). Blank lines are skipped. Only the columns that are asked for need names of their own.

    Args:
        path: The file.
        wanted: The columns, and the option that names each (``{"body": "data.text"}``).
        option: The option that names the file (``"data.train"``), for messages.
        dialect: How CSV and TSV are written; None for the usual one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, broken, not UTF-8, or lacks a column.
    """
    if len(str(path).splitlines()) > 1:  # messages, which name it, are lines
        raise ValueError(f"{option}: expected a path on one line, got {shown(str(path))}")
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{option}: expected a file, {shown(str(path))} is a folder")
    if not path.is_file():
        raise FileNotFoundError(f"{option}: no file {shown(str(path))} (looked for {path.absolute()})")
    suffix = format_suffix(path)
    if suffix not in (*DELIMITED, *_OTHERS):
        instead = f"; {INSTEAD[suffix]}" if suffix in INSTEAD else ""
        raise ValueError(
            f"{option}: expected a file ending in {', '.join((*DELIMITED, *_OTHERS))}, texts also with {ZIPPED}, got "
            f"{shown(path.name)}{instead}"
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{option}: {path} is empty")
    try:
        if suffix in DELIMITED:
            table = read_delimited(path, wanted, dialect or Dialect(), DELIMITED[suffix])
        else:
            table = _OTHERS[suffix](path, wanted)
    except ValueError as error:
        if str(error).startswith(tuple(f"{of_column}: " for of_column in wanted.values())):
            raise
        raise ValueError(f"{option}: {error}") from error
    if not table.lines:
        raise ValueError(f"{option}: {path} has no rows")
    return table


def format_suffix(path: str | Path) -> str:
    """Return the suffix that tells a file's format: of a text file packed by gzip, which .gz follows, the one before.

    Parquet packs its own columns, so that there is no .parquet.gz.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    return inner if suffix == ZIPPED and inner in (*DELIMITED, *_OTHERS) and inner != ".parquet" else suffix


def check_dialect(delimiter: Any, quotes: Any, files: Iterable[str | Path], options: str = "data.") -> Dialect:
    """Return how CSV and TSV files are written, from the options ``data.delimiter`` and ``data.quotes``.

    ``options`` is what their names begin with.

    Raises:
        ValueError: If an option is none of the possible ones, or is given though no file has a delimiter.
    """
    true_or_false(f"{options}quotes", quotes)
    character = None if delimiter is None else DELIMITERS.get(str(delimiter), str(delimiter))
    if character is not None and (len(character) != 1 or character in '"\r\n'):
        raise ValueError(
            f"{options}delimiter: expected a character (no double quote, no line break), one of {list(DELIMITERS)} or "
            f"null, got {shown(delimiter)}"
        )
    given = {f"{options}delimiter": character is not None, f"{options}quotes": not quotes}
    if any(given.values()) and not any(format_suffix(file) in DELIMITED for file in files):
        option = next(option for option, is_given in given.items() if is_given)
        raise ValueError(f"{option}: expected only with a file ending in {' or '.join(DELIMITED)}, none is given")
    return Dialect(character, quotes, options)
