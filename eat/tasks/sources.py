"""Read public data sets from a local Parquet root, else from the Hugging Face hub with its cache.

In this order, the first that is named: ``data.root=``, the environment's ``EAT_DATA_ROOT``, the hub. A named root that
lacks a file is an error: nothing falls back silently to other data.
"""

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow.parquet as pq
from datasets import Dataset, NamedSplit
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import constants
from pyarrow import ArrowException

from eat.checks import one_line

ROOT_VARIABLE = "EAT_DATA_ROOT"


class DataNotFoundError(FileNotFoundError):
    """A data set is not where it was looked for; the message says where, and how to go on."""


@dataclass(frozen=True)
class Source:
    """A data set's address, below a local root and on the hub."""

    folder: str  # folder of `<split>.parquet` files below the root ("glue/sst2")
    hub_path: str  # repository ("nyu-mll/glue")
    hub_config: str | None = None  # configuration in it ("sst2")


def read_splits(
    source: Source, splits: Sequence[str], *, root: str | Path | None = None, cache_dir: str | Path | None = None
) -> dict[str, Dataset]:
    """Read splits as they stand in the source, with its own columns, in the order asked for.

    ``root`` is the folder that holds the data sets; ``cache_dir`` is where ``datasets`` keeps its Arrow files.

    Raises:
        DataNotFoundError: If a named root lacks a file, or nothing is named and the hub cannot be reached.
        ValueError: If a file is not readable Parquet.
    """
    cache = None if cache_dir is None else str(cache_dir)
    named = local_root(root)
    if named is None:
        return _read_hub(source, splits, cache)
    return {split: _read_parquet(source, splits, split, *named, cache) for split in splits}


def read_label_names(source: Source, *, root: str | Path | None = None) -> tuple[str, ...] | None:
    """Return the class names of ``labels.json`` beside local Parquet files, in label order; None where there is none.

    Raises:
        ValueError: If the file is there but is no ``{"names": [...]}``.
    """
    named = local_root(root)
    path = None if named is None else named[0] / source.folder / "labels.json"
    if path is None or not path.is_file():
        return None
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["names"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: expected JSON of the form {{"names": ["first", ...]}}, got {error!r}') from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: 'names' must be a list of strings")
    return tuple(names)


def local_root(root: str | Path | None) -> tuple[Path, str] | None:
    """Return the local root and who named it, or None where only the hub is left."""
    if root is not None:
        return Path(root).expanduser(), "data.root"
    variable = os.environ.get(ROOT_VARIABLE)
    return (Path(variable).expanduser(), ROOT_VARIABLE) if variable else None


def _read_parquet(
    source: Source, splits: Sequence[str], split: str, root: Path, named_by: str, cache: str | None
) -> Dataset:
    path = root / source.folder / f"{split}.parquet"
    if not path.is_file():
        where = f"{named_by}={root}" if root.is_dir() else f"{named_by}={root}, which is no folder"
        raise DataNotFoundError(_not_found(source, splits, f"looked for {path.relative_to(root)} under {where}"))
    try:
        num_rows = pq.read_metadata(path).num_rows
        dataset = Dataset.from_parquet(str(path), split=NamedSplit(split), cache_dir=cache) if num_rows else None
    except (ArrowException, DatasetGenerationError, OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not readable as Parquet ({_one_line(error.__cause__ or error)})") from error
    if dataset is None:
        raise ValueError(f"{path} has no rows")
    return dataset


def _read_hub(source: Source, splits: Sequence[str], cache: str | None) -> dict[str, Dataset]:
    try:
        with _offline_when_unreachable():
            loaded = datasets.load_dataset(source.hub_path, source.hub_config, cache_dir=cache)
    except ConnectionError as error:
        tried = f"{constants.ENDPOINT} does not answer, and the cache has no copy of {_hub_name(source)}"
        raise DataNotFoundError(_not_found(source, splits, tried)) from error
    except Exception as error:  # no such configuration, no access, too many requests, a full disk: each its own class
        tried = f"asked the Hugging Face hub for {_hub_name(source)} ({_one_line(error)})"
        raise DataNotFoundError(_not_found(source, splits, tried)) from error
    missing = [split for split in splits if split not in loaded]
    if missing:
        tried = f"{_hub_name(source)} on the Hugging Face hub has the splits {list(loaded)}, not {missing}"
        raise DataNotFoundError(_not_found(source, splits, tried))
    return {split: loaded[split] for split in splits}


def _not_found(source: Source, splits: Sequence[str], tried: str) -> str:
    files = ", ".join(f"{source.folder}/{split}.parquet" for split in splits)
    return (
        f"data not found: {tried}. Three ways to go on: (1) the Hugging Face hub ({_hub_name(source)}): with network, "
        f"and neither data.root nor {ROOT_VARIABLE} set; (2) a local root: data.root=FOLDER or {ROOT_VARIABLE}=FOLDER "
        f"with {files}; (3) no data at all: task=demo."
    )


def where_from(source: Source, root: str | Path | None) -> str:
    """Say where a data set is read from, for messages."""
    named = local_root(root)
    return f"the Hugging Face hub ({_hub_name(source)})" if named is None else str(named[0] / source.folder)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def _hub_name(source: Source) -> str:
    return source.hub_path if source.hub_config is None else f"{source.hub_path}, {source.hub_config}"


@contextmanager
def _offline_when_unreachable() -> Iterator[None]:
    """Without network, let ``datasets`` look into its cache at once instead of retrying for half a minute."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not _hub_answers()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _hub_answers(timeout_s: float = 5.0) -> bool:
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return True
    except urllib.error.HTTPError:  # it answered, if only to refuse
        return True
    except urllib.error.URLError as error:  # a certificate that only this client refuses says that somebody answers
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
