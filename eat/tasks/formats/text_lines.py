"""Lines of a text file, decoded so that every error knows its line."""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

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


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line with its end); lines end in LF, CR LF or CR. Files that end in .gz are unpacked.

    Raises:
        ValueError: If the file is no text, not UTF-8, or a damaged archive.
    """
    number, position = 0, 0
    with _opened(path) as file:
        for raw in file:
            if position == 0:
                _check_start(raw, path)
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number + 1}: not UTF-8: byte 0x{raw[error.start]:02x} at position "
                    f"{position + error.start} of the file; save the file as UTF-8, from Windows or Latin-1 with "
                    f"{_iconv('WINDOWS-1252', path)}"
                ) from error
            text = text.removeprefix("\ufeff") if position == 0 else text
            position += len(raw)
            for line in _LONE_RETURN.split(text) if "\r" in text else [text]:
                if line:
                    number += 1
                    yield number, line


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, unpacked where it is an archive."""
    if path.suffix.lower() != ZIPPED:
        with path.open("rb") as file:
            yield file
        return
    try:
        with gzip.open(path, "rb") as unpacked:
            yield cast(BinaryIO, unpacked)
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
