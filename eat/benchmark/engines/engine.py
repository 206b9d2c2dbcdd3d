"""What an engine is: it answers batches of token-id lists with logits on the host, from a model or from files."""

import copy
import dataclasses
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.tracer import Tracer

Encoded = Mapping[str, Sequence[int]]
"""One tokenised example: ``input_ids`` and, where the tokenizer gives them, ``token_type_ids``."""

Call = Callable[[Any], Any]
"""Answers one batch; whatever a user waits for happens inside: packing or padding, the model, logits on the host."""

CALIBRATION_ROWS = 300
"""Training rows that ranges of int8 are measured on: so many NNCF asks for by default, and more change little."""
NO_ROWS = "static int8 needs training rows to measure its ranges on, and none were given"

Opened = TypeVar("Opened")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saved:
    """A contender on disk, as another process can build it; JSON values only."""

    engine: str  # key of `ENGINES`
    path: str  # what the engine wrote: a folder or a file
    pad_token_id: int = 0  # fills shorter examples where batches are padded
    parts: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)  # of ours, instead of those saved
    device: str = "cpu"  # type of the device: "cpu" or "cuda"
    dtype: str = "float32"  # name of the weights' type

    @property
    def place(self) -> dict[str, Any]:
        """Device and type of the weights, as `torch.nn.Module.to` takes them."""
        return {"device": torch.device(self.device), "dtype": getattr(torch, self.dtype)}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A trained model as all engines are given it, so that they share what is made of it."""

    trained: AdaptiveForSequenceClassification  # the model with the weights as they were trained; it is not changed
    dtype: torch.dtype | None = None  # type wanted of engines that have none of their own; None for the trained one
    token_types: bool = True  # whether examples have ``token_type_ids``
    calibration: Sequence[Encoded] = ()  # training rows, for engines whose int8 ranges are measured beforehand

    @cached_property
    def model(self) -> AdaptiveForSequenceClassification:
        """The model in the type wanted; itself where its weights are of that type."""
        if self.dtype is None or next(self.trained.parameters()).dtype == self.dtype:
            return self.trained
        twin = copy.deepcopy(self.trained)
        torch.nn.Module.to(twin, dtype=self.dtype)  # transformers' own `to` hides its types
        return twin

    @cached_property
    def hugging_face(self) -> PreTrainedModel:
        """The same weights, in the type wanted, as Hugging Face's own class."""
        return self.model.to_hugging_face()


@dataclasses.dataclass(frozen=True)
class Engine(ABC):
    """Runs a model; add one as a file in this folder and a line in `ENGINES`."""

    title: str  # its name in tables and figures
    dtype: str | None = None  # what it computes in, whatever the weights' type; None where it follows them
    exact: bool = True  # whether it computes the model's own function up to rounding, and so has its quality
    grouped: bool = False  # whether its batches hold examples of like length
    exported: bool = False  # whether it answers from files alone, so that ``benchmark.onnx=false`` saves an export
    adaptive: bool = False  # whether it prunes and exits as `Saved.parts` say; as a baseline it has everything off
    traced: bool = False  # whether it says what every head answers (`tracer`), so that it can be certified
    calibrated: bool = False  # whether the ranges of its int8 are measured on training rows
    profiler: str | None = None  # key of `eat.benchmark.profile.PROFILERS` that sees its operators; None for none

    def why_not(self, device: torch.device) -> str | None:
        """Say why it cannot be measured on a device, or None where it can."""
        return None

    def cannot(self, source: Source) -> str | None:
        """Say why it cannot run a model, on whatever device, or None where it can."""
        return None

    @property
    def bits(self) -> int | None:
        """Bits of an activation in its int8 products on this processor; None where it has no such choice."""
        return None

    def cannot_trace(self, device: torch.device) -> str | None:
        """Say why it cannot answer on a device, or None where it can, be that slow or not."""
        return self.why_not(device)

    def tracer(self, source: Source, folder: Path) -> Tracer:
        """Return what says what every head answers at full depth, with the parts of the model as trained.

        An exported engine writes to ``folder``, and needs it as long as it answers.

        Raises:
            NotImplementedError: If it knows the last head alone (not ``traced``).
        """
        raise NotImplementedError(f"{self.title} does not say what every head answers")

    @abstractmethod
    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Write what another process can load, or find it there, as the contender of this name in `ENGINES`."""

    @abstractmethod
    def call(self, source: Source | Saved) -> Call:
        """Return what answers batches; an exported engine takes what was saved only."""


def joined(batch: Sequence[Encoded]) -> tuple[dict[str, list[int]], list[int]]:
    """Return a batch's token ids, and types where it has some, end to end, and the length of each example."""
    keys = [key for key in ("input_ids", "token_type_ids") if key in batch[0]]
    columns = {key: list(chain.from_iterable(example[key] for example in batch)) for key in keys}
    return columns, [len(example["input_ids"]) for example in batch]


def save_pretrained(model: PreTrainedModel, folder: Path, engine: str, pad_token_id: int) -> Saved:
    """Write a torch model, unless it is there already, and say where and what it is."""
    from eat.runs.finished import no_progress_bars  # not at the top: processes that measure memory do without

    if not folder.exists():
        with no_progress_bars():
            model.save_pretrained(folder)
    parameter = next(model.parameters())
    return Saved(
        engine=engine,
        path=str(folder),
        pad_token_id=pad_token_id,
        device=parameter.device.type,
        dtype=str(parameter.dtype).removeprefix("torch."),
    )


def on_host(logits: torch.Tensor) -> Float[np.ndarray, "batch classes"]:
    """Copy logits to the host, which also waits for the device."""
    return logits.float().cpu().numpy()


def missing(packages: Sequence[str], extra: str, device: torch.device) -> str | None:
    """Say which packages of an extra a CPU engine lacks, or that this is no CPU; None where nothing is in its way."""
    absent = [name for name in packages if find_spec(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (pip install 'eat-transformers[{extra}]')"
    return None if device.type == "cpu" else f"measured on a CPU only, and this is {device.type}"


def for_threads(build: Callable[[int], Opened]) -> Callable[[], Opened]:
    """Return what gives an engine's session for as many threads as torch has at the time.

    A session belongs to a number of threads: where that changes, the next call opens another one first.
    """
    sessions: dict[int, Opened] = {}

    def current() -> Opened:
        threads = torch.get_num_threads()
        if threads not in sessions:
            sessions.clear()
            sessions[threads] = build(threads)
        return sessions[threads]

    return current


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the advice of exporters and quantisers: on operators not used, on passes not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
