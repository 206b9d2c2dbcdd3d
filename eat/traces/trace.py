"""One traced pass over a split, kept as Parquet: every head's logits and the tokens alive after every depth.

Exits are pure functions of these logits and pruning does not depend on exits, so one trace serves every criterion,
threshold and patience, long after the weights are gone.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int, Num

from eat.files import replacing
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.tasks import TaskFacts

FORMAT = 1
_METADATA_KEY = b"eat"


@dataclasses.dataclass(frozen=True)
class RecordedTask:
    """What a trace remembers of its task: enough to compute the metrics, not the text.

    Attributes:
        name: The task's name.
        kind: "classification" or "regression".
        label_names: Class names in label order; empty for regression.
        metrics: Names of the metrics, the primary one first.
        num_labels: Outputs of the model.
        official_rows: Official size of each split.
    """

    name: str
    kind: Literal["classification", "regression"]
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    num_labels: int
    official_rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    text_fields: tuple[str, ...] = ("text",)
    label_field: str = "label"

    @classmethod
    def of(cls, task: TaskFacts) -> "RecordedTask":
        """Remember a task."""
        return cls(**{field.name: getattr(task, field.name) for field in dataclasses.fields(cls)})

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "RecordedTask":
        """Read back what `dataclasses.asdict` gave, after JSON has turned tuples into lists."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
        return cls(**values)


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """What a model answered at every head for each example of a split, in the split's order.

    Attributes:
        labels: Class or, in regression, score of each example.
        all_logits: Logits of each head, in the precision of the pass.
        tokens_kept: Tokens alive when nobody exits: column 0 came in, column d after depth d's pruning; the last column
            is 0, because the last head takes everybody.
        head_depths: Depths of the heads, ascending; the last is the model's last.
        task: The task that was answered.
        metadata: What made it: ``split``, ``config`` (the model's, as a dict), ``fingerprint`` (of weights and config),
            ``data`` (complete, or subset n of N) and what else the writer added; JSON values only.
        columns: Further facts per example, such as the demo's ``difficulty``.
        temperatures: What the logits were divided by, one number per head; None where they are raw.
    """

    labels: Num[np.ndarray, " examples"]
    all_logits: Float[np.ndarray, "examples heads classes"]
    tokens_kept: Int[np.ndarray, "examples columns"]
    head_depths: tuple[int, ...]
    task: RecordedTask
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    temperatures: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together.

        Raises:
            ValueError: Naming the part that does not.
        """
        n, heads, _ = self.all_logits.shape
        if n == 0:
            raise ValueError("trace: expected at least one example, got none")
        if len(self.labels) != n or len(self.tokens_kept) != n or any(len(c) != n for c in self.columns.values()):
            raise ValueError(f"trace: all columns must hold {n} examples, as the logits do")
        if len(self.head_depths) != heads or list(self.head_depths) != sorted(set(self.head_depths)):
            raise ValueError(f"trace: expected {heads} ascending head depths, got {self.head_depths}")
        if self.head_depths[-1] != self.num_layers:
            raise ValueError(f"trace: the last head must be at depth {self.num_layers}, got {self.head_depths}")
        bad = ~np.isfinite(self.all_logits).all(axis=2)
        if bad.any():
            example, head = (int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"trace: {int(bad.any(axis=1).sum())} of {n} examples have NaN or infinite logits, first example "
                f"{example} at the head of depth {self.head_depths[head]}; the weights are broken, train again"
            )

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)

    def divided(self, temperatures: Sequence[float] | None) -> "Trace":
        """Return what heads with these temperatures answer, of a trace of raw logits; None leaves it as it is.

        Raises:
            ValueError: If the logits are not raw, or there is not one temperature per head.
        """
        if self.temperatures is not None:
            raise ValueError(f"trace: expected raw logits, these were divided by {list(self.temperatures)}")
        if temperatures is None:
            return self
        if len(temperatures) != len(self.head_depths):
            raise ValueError(f"temperatures: expected one per head, {len(self.head_depths)}, got {list(temperatures)}")
        divisor = np.asarray(temperatures, dtype=self.all_logits.dtype)[:, None]
        return dataclasses.replace(self, all_logits=self.all_logits / divisor, temperatures=tuple(temperatures))

    @property
    def num_layers(self) -> int:
        """Depth of the encoder."""
        return self.tokens_kept.shape[1] - 1

    @property
    def lengths(self) -> Int[np.ndarray, " examples"]:
        """Tokens of each example as it came in."""
        return self.tokens_kept[:, 0]

    @property
    def is_regression(self) -> bool:
        """True when the model predicts a score instead of classes."""
        return self.all_logits.shape[2] == 1


def record_trace(
    model: AdaptiveForSequenceClassification,
    batches: Iterable[Mapping[str, Any]],
    task: TaskFacts,
    *,
    metadata: Mapping[str, Any] | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    after_batch: Callable[[Mapping[str, Any]], None] | None = None,
) -> Trace:
    """Run every example to full depth and keep what each head says.

    Args:
        model: The model; put into evaluation mode for the pass and left in the mode it came in.
        batches: Packed batches with ``labels`` and ``example`` (index in the split).
        task: What the batches belong to.
        metadata: Facts to store beside it.
        columns: Further facts per example, in the split's order.
        after_batch: Called with each batch once the model has answered it.

    Raises:
        ValueError: If there is no example, an example is missing or comes twice, or logits are not finite.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    parts: dict[str, list[np.ndarray]] = {"example": [], "labels": [], "all_logits": [], "tokens_kept": []}
    try:
        with torch.inference_mode():
            for batch in batches:
                inputs = {key: batch[key].to(device) for key in ("input_ids", "token_type_ids") if key in batch}
                output = model(**inputs, lengths=batch["lengths"], trace=True)
                logits = output.all_logits
                logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
                parts["example"].append(batch["example"].numpy())
                parts["labels"].append(batch["labels"].numpy())
                parts["all_logits"].append(logits.cpu().numpy())
                parts["tokens_kept"].append(output.tokens_kept.cpu().numpy())
                if after_batch is not None:
                    after_batch(batch)
    finally:
        model.train(was_training)
    if not parts["example"]:
        raise ValueError("batches must hold at least one example, got none")
    whole = {key: np.concatenate(values) for key, values in parts.items()}
    order = np.argsort(whole["example"], kind="stable")
    if not np.array_equal(whole["example"][order], np.arange(len(order))):
        raise ValueError(f"batches must hold every example 0..{len(order) - 1} of the split once")
    return Trace(
        labels=whole["labels"][order],
        all_logits=whole["all_logits"][order],
        tokens_kept=whole["tokens_kept"][order],
        head_depths=tuple(model.head_depths),
        task=RecordedTask.of(task),
        metadata=dict(metadata or {}),
        columns=dict(columns or {}),
        temperatures=None if set(model.temperatures) == {1.0} else model.temperatures,
    )


def write_trace(trace: Trace, path: Path) -> None:
    """Write a trace as Parquet (zstd), whole or not at all.

    Columns: ``example``, ``label``, ``length``, ``logits_<depth>`` (fixed-size list, one per head), ``tokens_kept``
    (fixed-size list over depths), then the further columns.

    Raises:
        OSError: If the disk is full or the folder cannot be written; an older file then stays.
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
