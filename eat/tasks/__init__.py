"""Tasks: where text comes from, its labels and its metrics."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from datasets import Dataset

from eat.registry import Family, build_part
from eat.tasks.clinc150 import clinc150
from eat.tasks.demo import DemoTask
from eat.tasks.file import FileTask
from eat.tasks.glue import cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb
from eat.tasks.imdb import imdb
from eat.tasks.kinds import KINDS, TaskKind
from eat.tasks.leakage import LeakageRule

__all__ = ["KINDS", "TASKS", "Task", "TaskFacts", "TaskKind", "build_task", "describe_rows"]


@runtime_checkable
class TaskFacts(Protocol):
    """What is known of a task without its rows: enough for metrics, and what a trace remembers."""

    @property
    def name(self) -> str:
        """The name in ``TASKS``."""

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The text columns of what ``load`` returns: ``("text",)``, or ``("text", "text_pair")``."""

    @property
    def label_field(self) -> str:
        """The label column: int64 class numbers, float32 scores, or lists of float32, 1 where a label applies."""

    @property
    def kind(self) -> TaskKind:
        """Whether a text has one class, any number of labels, or a score."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes or labels, in their order; empty for regression."""

    @property
    def num_labels(self) -> int:
        """Outputs that a model needs: one per class or label; one for regression."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names out of ``eat.tasks.metrics.METRICS``, the primary one first."""

    @property
    def official_rows(self) -> Mapping[str, int]:
        """Official size of each split, where there is one: so that a subset is recognised and called a subset."""


@runtime_checkable
class Task(TaskFacts, Protocol):
    """Labelled text under one set of column names."""

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The text columns as the source calls them, for messages."""

    @property
    def group_by(self) -> LeakageRule | None:
        """Which training rows a held-out split takes together; None: those with equal texts, for want of a rule."""

    def load(self, root: str | Path | None = None, cache_dir: str | Path | None = None) -> dict[str, Dataset]:
        """Return ``train`` and the splits that are reported.

        Args:
            root: Folder of local data sets; None asks ``EAT_DATA_ROOT``, then the hub.
            cache_dir: Where ``datasets`` keeps its Arrow files.
        """


TASKS: Family[Callable[..., Task]] = Family(
    "eat.tasks",
    {
        "sst2": sst2,
        "qqp": qqp,
        "mnli": mnli,
        "cola": cola,
        "mrpc": mrpc,
        "rte": rte,
        "qnli": qnli,
        "stsb": stsb,
        "imdb": imdb,
        "clinc150": clinc150,
        "file": FileTask,
        "demo": DemoTask,
    },
)


def build_task(spec: Mapping[str, Any]) -> Task:
    """Build a task from ``{"name": ..., **arguments}``."""
    return build_part("task", TASKS, spec)


def describe_rows(task: Task, split: str, num_rows: int) -> str:
    """Say whether a split is whole: ``"complete"``, or ``"subset 8,403 of 40,430"``; a user's own file is complete.

    A split with more rows than the official one is called what it is, too: ``"70,000 rows, official 67,349"``.
    """
    official = task.official_rows.get(split, num_rows)
    if num_rows > official:
        return f"{num_rows:,} rows, official {official:,}"
    return "complete" if num_rows == official else f"subset {num_rows:,} of {official:,}"
