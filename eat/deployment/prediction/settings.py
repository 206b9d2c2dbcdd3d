"""What a prediction can be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from eat.checks import number, one_of, several, shown, thread_count, true_or_false, whole_number
from eat.deployment.manifest import EXPORTS
from eat.deployment.prediction.places import INPUTS
from eat.deployment.prediction.writing import FORMATS
from eat.machine import device_name
from eat.models.granted import IN_TORCH

SAVED = ("torch", *IN_TORCH)
"""Engines of a saved model; the others are exports'."""
ENGINES = (*SAVED, *EXPORTS)
UNREADABLE = ("keep", "refuse")
CLUSTERS = ("ray",)
_ABOUT_A_SESSION = {
    "device",
    "threads",
    "truncate",
    "unreadable",
    "fresh",
    "progress",
    "input_format",
    "output_format",
    "cluster",
}
"""A name or a kind of file that was told otherwise shows in what is read, and a cut text in what was counted."""


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """What ``eat predict`` can be told beside model, input and output.

    Raises:
        ValueError: Naming the setting that is of another type or out of range.
    """

    text: str | Sequence[str] | None = None  # column of the text, or columns to join; null: the run's own, else text
    text_pair: str | Sequence[str] | None = None  # likewise of the second text, for models of pairs
    separator: str | None = None  # stands between joined texts; null: the run's own, else a space
    keep: Sequence[str] = ()  # columns carried over, such as [id]; one named like ours is called input_<name>
    label_threshold: float = 0.5  # of a multi-label model: labels whose probability is above it are written
    probabilities: bool = False  # also a column probability_NAME for each class or label
    engine: str | None = None  # torch, int8 or bf16 (by model.quantize), onnx, onnx_int8, onnx_static; null: as it is
    exit: Mapping[str, Any] | None = None  # another operating point; None is the model's own, certified if it has one
    guard: bool = False  # watch a certified model for drift; behind an alarm rows are answered at full depth
    false_alarm: float = 0.01  # probability that the guard ever fires although nothing has changed
    cache: int = 0  # answers remembered by exact text, the least recently used forgotten first
    truncate: bool = True  # cut texts that are longer than the model takes, and count them; false refuses them
    unreadable: str = "keep"  # rows that cannot be read have no answer; refuse ends with exit code 1 if there are any
    fresh: bool = False  # start anew, and replace an output that is there
    batch_size: int = 32  # texts in a call
    window: int = 4096  # rows read ahead, batched by length and written as one part
    device: str = "auto"  # of torch: auto takes the first GPU where there is one
    threads: int | None = None  # threads of a product; null: one for each processor
    input_format: str | None = None  # one of csv, tsv, jsonl, parquet, text; null: by the name, text for -
    output_format: str | None = None  # one of csv, jsonl, parquet; null: by the name, jsonl for -
    delimiter: str | None = None  # of CSV: a character, or comma, semicolon, tab, pipe; null: told by the header
    quotes: bool = True  # false: double quotes in CSV and TSV are ordinary characters
    progress: bool = True  # say on stderr how far it is
    cluster: str | None = None  # ray: input and output are folders of shards, answered by the machines of a Ray cluster

    def __post_init__(self) -> None:
        columns = [column for of_text in self.text_columns for column in of_text]
        if len({*columns}) < len(columns):
            raise ValueError(f"text, text_pair: expected different columns, got {shown(columns)}")
        if self.separator is not None and not isinstance(self.separator, str):
            raise ValueError(f"separator: expected text that stands between joined texts, got {shown(self.separator)}")
        for column in (keep := several("keep", self.keep, "[id]")):
            _check_column("keep", column)
        if len({*keep}) < len(keep):
            raise ValueError(f"keep: expected different columns, got {shown(keep)}")
        for name, known in (
            ("engine", ENGINES),
            ("input_format", INPUTS.values()),
            ("output_format", FORMATS),
            ("cluster", CLUSTERS),
        ):
            if getattr(self, name) is not None:
                one_of(name, getattr(self, name), known)
        one_of("unreadable", self.unreadable, UNREADABLE)
        number("label_threshold", self.label_threshold, above=0, below=1)
        for name in ("probabilities", "guard", "truncate", "fresh", "quotes", "progress"):
            true_or_false(name, getattr(self, name))
        number("false_alarm", self.false_alarm, above=0, below=1)
        whole_number("cache", self.cache, at_least=0)
        for name in ("batch_size", "window"):
            whole_number(name, getattr(self, name))
        thread_count("threads", 1 if self.threads is None else self.threads)
        device_name("device", self.device)
        if self.guard and self.engine not in (None, "torch"):
            raise ValueError(f"guard: expected engine=torch, which a certificate is watched with, got {self.engine}")

    def deciding(self) -> dict[str, Any]:
        """Return the settings that answers follow from: a prediction that was begun goes on with the same ones."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in _ABOUT_A_SESSION}

    @property
    def text_columns(self) -> tuple[tuple[str, ...], ...]:
        """The columns that the text is joined of, or those of both texts of a pair."""
        given = {"text": "text" if self.text is None else self.text, "text_pair": self.text_pair}
        return tuple(_columns(name, value) for name, value in given.items() if value is not None)

    def completed(self, trained: Mapping[str, Any]) -> PredictSettings:
        """Return the settings with what is not said taken from how a run was trained: its ``task`` of the file."""
        text, pair, separator = self.text, self.text_pair, self.separator
        text = trained.get("text", "text") if text is None else text
        pair = trained.get("text_pair") if pair is None else pair
        separator = trained.get("separator", " ") if separator is None else separator
        return dataclasses.replace(self, text=text, text_pair=pair, separator=separator)


def _columns(name: str, value: Any) -> tuple[str, ...]:
    columns = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not columns:
        raise ValueError(f"{name}: expected a column, or a list of columns, got []")
    for column in columns:
        _check_column(name, column)
    return columns


def _check_column(name: str, column: Any) -> None:
    if not isinstance(column, str) or not column:
        raise ValueError(f"{name}: expected the name of a column, got {shown(column)}")
