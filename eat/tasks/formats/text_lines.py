"""Lines of a text file, decoded so that every error knows its line."""

import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

ZIPPED = ".gz"

_SIGNATURES = {
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an Excel sheet",
    b"\xd0\xcf\x11\xe0": "an old Excel sheet",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PAR1\x15": "a Parquet file",
}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LONE_RETURN = re.compile(r"(?<=\r)(?!\n)")  # the end of a line where nothing follows: old Macintosh files


class BrokenRowError(ValueError):
    """A row cannot be read, though those behind it can: whoever raises it may be asked for the next."""


@runtime_checkable
class Binary(Protocol):
    """What lines are read from: an open file, or what an archive unpacks to."""

    def readline(self, size: int = -1, /) -> bytes:
        """Return the next line with its end, at most ``size`` bytes of it."""
        ...


class TextLines(Iterator[str]):
    """Lines of an open file, each with its end: LF, CR LF or CR.

    Args:
        file: What is read, from where it stands.
        path: What messages call it.
        longest: Bytes that a line may have at most, so that memory is bounded; None for any number.

    Attributes:
        number: Of the line that came last, from 1.
        position: Bytes read so far.

    Raises:
        BrokenRowError: From ``next``, if a line is not UTF-8.
        ValueError: From ``next``, if the file is no text, or a line is longer than ``longest``.
    """

    def __init__(self, file: Binary, path: Path, longest: int | None = None) -> None:
        self.path, self.number, self.position = path, 0, 0
        self._file, self._longest = file, longest
        self._waiting: deque[str] = deque()

    def __next__(self) -> str:
        while not self._waiting:
            self._read()
        self.number += 1
        return self._waiting.popleft()

    def put_back(self, lines: Sequence[str]) -> None:
        """Let the lines that came last come once more."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)

    def _read(self) -> None:
        raw = self._file.readline() if self._longest is None else self._file.readline(self._longest + 1)
        if not raw:
            raise StopIteration
        if self._longest is not None and len(raw) > self._longest:
            raise ValueError(f"{self.path}, line {self.number + 1}: longer than {self._longest >> 20} MiB")
        start, self.position = self.position, self.position + len(raw)
        if start == 0:
            _check_start(raw, self.path)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.number += 1
            raise BrokenRowError(
                f"{self.path}, line {self.number}: not UTF-8: byte 0x{raw[error.start]:02x} at position "
                f"{start + error.start} of the file; save the file as UTF-8, from Windows or Latin-1 with "
                f"{_iconv('WINDOWS-1252', self.path)}"
            ) from error
        text = text.removeprefix("\ufeff") if start == 0 else text
        self._waiting.extend(filter(None, _LONE_RETURN.split(text) if "\r" in text else [text]))


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line with its end); files that end in .gz are unpacked.

    Raises:
        ValueError: If the file is no text, not UTF-8, or a damaged archive.
    """
    with opened(path) as file:
        lines = TextLines(file, path)
        for line in lines:
            yield lines.number, line


@contextmanager
def opened(path: Path) -> Iterator[Binary]:
    """Open a file to read its bytes, unpacked where it is an archive."""
    if path.suffix.lower() != ZIPPED:
        with path.open("rb") as file:
            yield file
        return
    try:
        with gzip.open(path, "rb") as unpacked:
            yield unpacked
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip archive ({error})") from error


def _check_start(raw: bytes, path: Path) -> None:
    """Refuse what is known by its first bytes not to be UTF-8 text."""
    for signature, kind in _SIGNATURES.items():
        if raw.startswith(signature):
            raise ValueError(f"{path} is {kind}, whatever its name says; expected text")
    if raw.startswith(_UTF_16) or b"\x00" in raw.partition(b"\r")[0]:
        raise ValueError(
            f"{path}, line 1: not UTF-8 but {'UTF-16' if raw.startswith(_UTF_16) else 'with NUL bytes, as in UTF-16'}; "
            f"convert it with {_iconv('UTF-16', path)}"
        )


def _iconv(encoding: str, path: Path) -> str:
    if path.suffix.lower() == ZIPPED:
        return f"`gunzip -c {path.name} | iconv -f {encoding} -t UTF-8 | gzip > utf8{''.join(path.suffixes[-2:])}`"
    return f"`iconv -f {encoding} -t UTF-8 {path.name} > utf8{path.suffix}`"
