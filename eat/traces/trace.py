"""One traced pass over a split, kept as Parquet: every head's logits and the tokens alive after every depth.

Exits are pure functions of these logits and pruning does not depend on exits, so one trace serves every criterion,
threshold and patience, long after the weights are gone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num

from eat.checks import one_of
from eat.ops.confidence import sets_as_classes
from eat.tasks import KINDS, TaskFacts, TaskKind
from eat.traces.costs import Costs


@dataclasses.dataclass(frozen=True)
class RecordedTask:
    """What a trace remembers of its task: enough to compute the metrics (see ``TaskFacts``), not the text."""

    name: str
    kind: TaskKind
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
        one_of("task.kind", facts["kind"], KINDS)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
        return cls(**values)


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """What a model answered at every head for each example of a split, in the split's order.

    Attributes:
        labels: Class or, in regression, score of each example; in a multi-label task (examples, labels) of 0 and 1.
        all_logits: Logits of each head, in the precision of the pass.
        tokens_kept: Tokens alive when no sequence exits: column 0 came in, column d after depth d's pruning; the last
            column is 0, because the last head takes all.
        head_depths: Depths of the heads, ascending; the last is the model's last.
        task: The task that was answered.
        metadata: What made it: ``split``, ``config`` (the model's, as a dict), ``fingerprint`` (of weights and config),
            ``data`` (complete, or subset n of N) and what else the writer added; JSON values only.
        columns: Further facts per example, such as the demo's ``difficulty``.
        temperatures: What the logits were divided by, one number per head; None where they are raw.
        undivided: The raw trace, where this one was divided.
    """

    labels: Num[np.ndarray, "examples *labels"]
    all_logits: Float[np.ndarray, "examples heads classes"]
    tokens_kept: Int[np.ndarray, "examples columns"]
    head_depths: tuple[int, ...]
    task: RecordedTask
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    temperatures: tuple[float, ...] | None = None
    undivided: "Trace | None" = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check that the parts fit together; the error names the one that does not."""
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
        divided = self.all_logits / divisor
        return dataclasses.replace(self, all_logits=divided, temperatures=tuple(temperatures), undivided=self)

    @property
    def raw(self) -> "Trace":
        """The trace of the heads' logits as they come, before temperatures."""
        return self.undivided or self

    @property
    def split(self) -> str:
        """Name of the split."""
        return str(self.metadata["split"])

    @property
    def config(self) -> Mapping[str, Any]:
        """The model's configuration."""
        return self.metadata["config"]

    @property
    def full_depth(self) -> Float[np.ndarray, "examples classes"]:
        """Logits of the last head."""
        return self.all_logits[:, -1]

    @cached_property
    def costs(self) -> Costs:
        """Executed work of leaving at each head, counted when it is first asked for."""
        return Costs(self.config, self.tokens_kept, self.head_depths)

    @property
    def num_layers(self) -> int:
        """Depth of the encoder."""
        return self.tokens_kept.shape[1] - 1

    @property
    def lengths(self) -> Int[np.ndarray, " examples"]:
        """Tokens of each example as it came in."""
        return self.tokens_kept[:, 0]

    @property
    def multi_label(self) -> bool:
        """True where each output is a label with a sigmoid of its own."""
        return self.task.kind == "multi_label"

    @cached_property
    def exit_history(self) -> Float[torch.Tensor, "heads examples classes"]:
        """What exit criteria read: every head's logits, of a multi-label task as `sets_as_classes` gives them."""
        history = torch.from_numpy(self.all_logits).transpose(0, 1)
        return sets_as_classes(history) if self.multi_label else history

    def questions(
        self, logits: Float[np.ndarray, "examples classes"]
    ) -> tuple[Float[np.ndarray, "questions answers"], Int[np.ndarray, " questions"]]:
        """Return logits and answers of all that probabilities are given for, in a classification.

        That is each example's class; of a multi-label task each label of each example, yes or no.
        """
        if not self.multi_label:
            return logits, self.labels
        flat = logits.reshape(-1)
        return np.stack((np.zeros_like(flat), flat), axis=1), self.labels.reshape(-1)

    @property
    def is_regression(self) -> bool:
        """True when the model predicts a score instead of classes."""
        return self.all_logits.shape[2] == 1
