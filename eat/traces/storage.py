"""Traces as Parquet files."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Num

from eat.files import replacing
from eat.traces.trace import RecordedTask, Trace

FORMAT = 1
_METADATA_KEY = b"eat"


def write_trace(trace: Trace, path: Path) -> None:
    """Write a trace as Parquet (zstd), whole or not at all.

    Columns: ``example``, ``label``, ``length``, ``logits_<depth>`` (fixed-size list, one per head), ``tokens_kept``
    (fixed-size list over depths), then the further columns.
    """
    table = {
        "example": pa.array(np.arange(len(trace))),
        "label": pa.array(trace.labels),
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
        ValueError: If it is no trace, of another format, or damaged; the message names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no trace at {path}: `python evaluate.py run=...` writes it, given the weights")
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        if facts["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {facts['format']}")
        head_depths = tuple(facts["head_depths"])
        own = {"example", "label", "length", "tokens_kept", *(f"logits_{depth}" for depth in head_depths)}
        return Trace(
            labels=table["label"].to_numpy(),
            all_logits=np.stack([_matrix(table[f"logits_{depth}"]) for depth in head_depths], axis=1),
            tokens_kept=_matrix(table["tokens_kept"]),
            head_depths=head_depths,
            task=RecordedTask.from_json(facts["task"]),
            metadata=facts["metadata"],
            columns={name: table[name].to_numpy() for name in table.column_names if name not in own},
            temperatures=None if facts.get("temperatures") is None else tuple(facts["temperatures"]),
        )
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable trace ({error}); delete it and evaluate again") from error


def _fixed_size_lists(values: Num[np.ndarray, "n size"]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


def _matrix(column: pa.ChunkedArray) -> Num[np.ndarray, "n size"]:
    merged = column.combine_chunks()
    return merged.flatten().to_numpy(zero_copy_only=False).reshape(len(merged), merged.type.list_size)
