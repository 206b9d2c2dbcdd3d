"""Check that a trace read from a file is what a model can have answered: files are copied, edited and cut off."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from eat.checks import shown
from eat.models.config import AdaptiveConfig
from eat.models.cost import CostModel
from eat.models.granted import EAT
from eat.tasks.metrics import METRICS
from eat.traces.trace import Trace

METADATA = ("config", "data", "fingerprint", "reported", "split", "traces")
"""What the metadata of a run's trace must say."""


def check_trace(trace: Trace, *, example: Shaped[np.ndarray, " n"], length: Shaped[np.ndarray, " n"]) -> None:
    """Check a trace against its task and against two columns that it does not keep.

    Args:
        trace: The trace.
        example: Number of each row's example.
        length: Tokens of each row as it came in.

    Raises:
        ValueError: If something does not fit; the message names the column and the first row.
    """
    _check_task(trace)
    _refuse("example", example != np.arange(len(trace)), "each number once and in order", example)
    _check_labels(trace)
    kept = trace.tokens_kept
    grows = np.asarray((kept < 0).any(axis=1) | (np.diff(kept, axis=1) > 0).any(axis=1))
    _refuse("tokens_kept", grows, "counts that never grow with depth", kept)
    _refuse("length", length != trace.lengths, "the first of 'tokens_kept'", length)


def check_metadata(trace: Trace, split: str, engine: str) -> None:
    """Check what a run's trace says of the model, the engine and the split that it was made of.

    Raises:
        ValueError: If something is missing, is another split's or engine's, or is no model's configuration.
    """
    facts = trace.metadata
    missing = [name for name in METADATA if name not in facts]
    if missing:
        raise ValueError(f"metadata: expected {list(METADATA)}, {missing} are missing")
    if facts["split"] != split or not isinstance(facts["reported"], bool) or not isinstance(facts["fingerprint"], str):
        raise ValueError(
            f"metadata: expected the split {shown(split)}, got {shown(facts['split'])}, "
            f"reported {shown(facts['reported'])}, fingerprint {shown(facts['fingerprint'])}"
        )
    made_with, bits = facts.get("engine", EAT), facts.get("bits")
    if made_with != engine or not isinstance(bits, int | None):
        raise ValueError(f"metadata: expected the engine {shown(engine)}, got {shown(made_with)}, bits {shown(bits)}")
    if not isinstance(facts["traces"], list) or not all(isinstance(name, str) for name in facts["traces"]):
        raise ValueError(f"metadata: expected the names of the run's traces, got {shown(facts['traces'])}")
    try:
        model = CostModel(AdaptiveConfig.from_dict(dict(facts["config"])))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"metadata: 'config' is no model's ({error!r})") from error
    made_by = (model.backbone.num_layers, model.head_depths, model.num_labels)
    holds = (trace.num_layers, trace.head_depths, trace.all_logits.shape[2])
    if made_by != holds:
        raise ValueError(f"metadata: 'config' has layers, heads and classes {made_by}, the columns hold {holds}")


def _check_task(trace: Trace) -> None:
    task, classes = trace.task, trace.all_logits.shape[2]
    outputs = 1 if task.kind == "regression" else len(task.label_names)
    if not task.metrics or set(task.metrics) - set(METRICS):
        raise ValueError(f"task: expected some of the metrics {sorted(METRICS)}, got {list(task.metrics)}")
    if not classes == outputs == task.num_labels:
        raise ValueError(f"columns 'logits_*': expected {outputs} values per row, as its task has, got {classes}")
    temperatures: Sequence[Any] | None = trace.temperatures
    if temperatures is not None and not (
        len(temperatures) == len(trace.head_depths) and all(isinstance(t, int | float) and t > 0 for t in temperatures)
    ):
        raise ValueError(f"expected one temperature above 0 per head, got {list(temperatures)}")


def _check_labels(trace: Trace) -> None:
    if trace.task.kind == "regression":
        _refuse("label", ~np.isfinite(trace.labels), "finite numbers", trace.labels)
        return
    if not np.issubdtype(trace.labels.dtype, np.integer):
        raise ValueError(f"column 'label': expected whole numbers, got {trace.labels.dtype}")
    if trace.multi_label:
        if trace.labels.shape[1:] != (trace.task.num_labels,):
            raise ValueError(f"column 'label': expected lists of {trace.task.num_labels}, as its task has labels")
        odd = ((trace.labels != 0) & (trace.labels != 1)).any(axis=1)
        _refuse("label", odd, "0 or 1 for each label", trace.labels)
        return
    last = trace.task.num_labels - 1
    _refuse("label", (trace.labels < 0) | (trace.labels > last), f"classes from 0 to {last}", trace.labels)


def _refuse(column: str, wrong: Bool[np.ndarray, " n"], expected: str, values: Shaped[np.ndarray, "n ..."]) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"column {column!r}: expected {expected}; {int(wrong.sum())} of {len(wrong)} rows differ, the first is row "
            f"{row + 1} with {values[row].tolist()}"
        )
