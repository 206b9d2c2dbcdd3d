"""Traces as Parquet files."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Num, Shaped

from eat.checks import shown
from eat.files import replacing
from eat.traces.check import check_trace
from eat.traces.trace import RecordedTask, Trace

FORMAT = 1
_METADATA_KEY = b"eat"


def write_trace(trace: Trace, path: Path) -> None:
    """Write a trace as Parquet (zstd), whole or not at all.

    Columns: ``example``, ``label`` (of a multi-label task a fixed-size list), ``length``, ``logits_<depth>``
    (fixed-size list, one per head), ``tokens_kept`` (fixed-size list over depths), then the further columns.
    """
    table = {
        "example": pa.array(np.arange(len(trace))),
        "label": _fixed_size_lists(trace.labels) if trace.multi_label else pa.array(trace.labels),
        "length": pa.array(trace.lengths),
        **{
            f"logits_{depth}": _fixed_size_lists(trace.all_logits[:, head])
            for head, depth in enumerate(trace.head_depths)
        },
        "tokens_kept": _fixed_size_lists(trace.tokens_kept),
        **{name: pa.array(values) for name, values in trace.columns.items()},
    }
    facts = {
        "format": FORMAT,
        "head_depths": list(trace.head_depths),
        "temperatures": trace.temperatures,
        "task": dataclasses.asdict(trace.task),
        "metadata": trace.metadata,
    }
    parquet = pa.table(table).replace_schema_metadata({_METADATA_KEY: json.dumps(facts).encode()})
    with replacing(path) as new:
        pq.write_table(parquet, new, compression="zstd")


def read_trace(path: Path) -> Trace:
    """Read what `write_trace` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no trace, of another format, or damaged; the message names the file and the column.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no trace at {path}: `python evaluate.py run=...` writes it, given the weights")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        facts = _facts(table.schema)
        head_depths = tuple(facts["head_depths"])
        logits = [f"logits_{depth}" for depth in head_depths]
        _check_columns(table, ["example", "label", "length", "tokens_kept", *logits])
        own = {"example", "label", "length", "tokens_kept", *logits}
        task = RecordedTask.from_json(facts["task"])
        several = task.kind == "multi_label"
        trace = Trace(
            labels=_matrix(table, "label", "whole numbers") if several else _numbers(table, "label", "numbers"),
            all_logits=np.stack([_matrix(table, name, "floats") for name in logits], axis=1),
            tokens_kept=_matrix(table, "tokens_kept", "whole numbers"),
            head_depths=head_depths,
            task=task,
            metadata=facts["metadata"],
            columns={name: _further(table, name) for name in table.column_names if name not in own},
            temperatures=None if facts.get("temperatures") is None else tuple(facts["temperatures"]),
        )
        example, length = (_numbers(table, name, "whole numbers") for name in ("example", "length"))
        check_trace(trace, example=example, length=length)
    except (pa.ArrowException, OSError, KeyError, TypeError, AttributeError, ValueError, MemoryError) as error:
        why = " ".join((f"{error!r}" if isinstance(error, KeyError) else f"{error}").split())[:400]
        raise ValueError(f"{path} is not a readable trace ({why}); delete it and evaluate again") from error
    return trace


def _facts(schema: pa.Schema) -> dict[str, Any]:
    """Return what the file says of itself."""
    text = (schema.metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise ValueError(f"its metadata have no {_METADATA_KEY.decode()!r}: it was not written as a trace")
    facts: dict[str, Any] = json.loads(text)
    if facts["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {facts['format']}")
    depths = facts["head_depths"]
    if not isinstance(depths, list) or not depths or not all(type(depth) is int for depth in depths):
        raise ValueError(f"expected the depths of its heads as whole numbers, got {shown(depths)}")
    if not isinstance(facts["task"], dict) or not isinstance(facts["metadata"], dict):
        raise ValueError("expected objects as task and metadata")
    return facts


def _check_columns(table: pa.Table, expected: Sequence[str]) -> None:
    names = table.column_names
    for name in expected:
        if names.count(name) != 1:
            raise ValueError(f"column {shown(name)}: expected once, {names.count(name)} stand there; it has {names}")
        if table[name].null_count:
            raise ValueError(f"column {shown(name)}: {table[name].null_count} rows hold nothing (null)")


def _fixed_size_lists(values: Num[np.ndarray, "n size"]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


def _matrix(table: pa.Table, name: str, expected: str) -> Num[np.ndarray, "n size"]:
    column = table[name].combine_chunks()
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or not _NUMBERS[expected](kind.value_type):
        raise ValueError(f"column {shown(name)}: expected lists of {expected} of one size, got {kind}")
    values = column.flatten()
    if values.null_count:
        raise ValueError(f"column {shown(name)}: {values.null_count} numbers are null")
    return values.to_numpy(zero_copy_only=False).reshape(len(column), kind.list_size)


def _numbers(table: pa.Table, name: str, expected: str) -> Num[np.ndarray, " n"]:
    if not _NUMBERS[expected](table[name].type):
        raise ValueError(f"column {shown(name)}: expected {expected}, got {table[name].type}")
    return table[name].to_numpy()


def _further(table: pa.Table, name: str) -> Shaped[np.ndarray, " n"]:
    if pa.types.is_nested(table[name].type):
        raise ValueError(f"column {shown(name)}: expected one value per example, got {table[name].type}")
    return table[name].to_numpy()


_NUMBERS: Mapping[str, Callable[[pa.DataType], bool]] = {
    "whole numbers": pa.types.is_integer,
    "floats": pa.types.is_floating,
    "numbers": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
}
