"""What is read and what is written, checked before anything is: the files, their kinds, and who else writes there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eat.checks import folder_name, shown
from eat.deployment.prediction.journal import FILE
from eat.deployment.prediction.writing import FORMATS
from eat.runs.lock import locked
from eat.tasks.formats import INSTEAD, format_suffix
from eat.tasks.formats.text_lines import ZIPPED

STANDARD = "-"
"""Standard input, or output."""
INPUTS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet", ".txt": "text"}
"""Suffix -> kind."""
OUTPUTS = {f".{name}": name for name in FORMATS}


@dataclass(frozen=True)
class Input:
    """What is read."""

    path: Path | None  # None for standard input
    kind: str  # one of `INPUTS`
    size: int | None  # in bytes; None where that is not known


def read_input(given: str | Path, kind: str | None) -> Input:
    """Check what is to be read; ``kind`` is None where its name tells.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, empty, or of no kind that is known.
    """
    if str(given) == STANDARD:
        if kind == "parquet":
            raise ValueError("input_format: expected csv, tsv, jsonl or text from standard input, got 'parquet'")
        return Input(None, kind or "text", None)
    path = Path(folder_name("input", given)).expanduser()
    if path.is_dir():
        raise ValueError(f"input: expected a file, {path} is a folder; cluster=ray answers a folder of shards")
    if not path.exists():
        raise FileNotFoundError(f"input: no file {path} (looked for {path.absolute()})")
    size = path.stat().st_size if path.is_file() else None  # a pipe has none
    if size == 0:
        raise ValueError(f"input: {path} is empty")
    packed = path.suffix.lower() == ZIPPED  # how much is in it shows at its end
    return Input(path, _kind("input", path, format_suffix(path), kind, INPUTS), None if packed else size)


def read_output(given: str | Path, kind: str | None, source: Input, fresh: bool) -> tuple[Path | None, str]:
    """Check where answers go; return the file, None for standard output, and its kind.

    Raises:
        ValueError: If it is a folder, the input, there already, or of no kind that is known.
    """
    if str(given) == STANDARD:
        if kind == "parquet":
            raise ValueError("output_format: expected csv or jsonl on standard output, got 'parquet'")
        return None, kind or "jsonl"
    path = Path(folder_name("output", given)).expanduser()
    if path.is_dir():
        raise ValueError(f"output: expected a file, {path} is a folder")
    kind = _kind("output", path, path.suffix.lower(), kind, OUTPUTS)
    if source.path is not None and path.exists() and path.samefile(source.path):
        raise ValueError(f"output: expected another file than the input, got {path}")
    if path.exists() and not fresh and not _is_begun(parts_of(path)):
        raise ValueError(f"output: {path} is there already; fresh=true replaces it")
    return path, kind


def _is_begun(parts: Path) -> bool:
    """Tell a journal, or the empty folder that a process leaves which dies at the very end."""
    return (parts / FILE).is_file() or (parts.is_dir() and not any(parts.iterdir()))


def parts_of(output: Path) -> Path:
    """Return the folder of an output's parts, while it is being written."""
    return output.with_name(f"{output.name}.parts")


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Hold an output for this process, which shows that one can write there.

    Raises:
        OSError: If one cannot.
        RuntimeError: If another process holds it.
    """
    with ExitStack() as stack:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(parts_of(output), wait=False, needed=True))
        except RuntimeError as error:
            raise RuntimeError(f"output: another process writes {output}; wait for it or stop it") from error
        except OSError as error:
            raise OSError(f"output: cannot write {output} ({error.strerror or error})") from error
        yield


def kept_names(keep: Sequence[str], own: Collection[str]) -> dict[str, str]:
    """Return what each column that is carried over is called; one that is named like ours is called input_<name>.

    Raises:
        ValueError: If two are then called alike.
    """
    names = {column: f"input_{column}" if column in own else column for column in keep}
    if len({*names.values()}) < len(names):
        raise ValueError(f"keep: expected columns that are called differently in the output, got {shown(names)}")
    return names


def _kind(option: str, path: Path, suffix: str, kind: str | None, known: Mapping[str, str]) -> str:
    if kind is None and suffix not in known:
        instead = f"; {INSTEAD[suffix]}" if suffix in INSTEAD else ""
        raise ValueError(
            f"{option}: expected a file ending in {', '.join(known)}, got {shown(path.name)}{instead}; "
            f"or say {option}_format="
        )
    return kind or known[suffix]
