"""What an engine is: it answers batches of token-id lists with logits on the host, from a model or from files."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from eat.models.classifier import AdaptiveForSequenceClassification

Encoded = Mapping[str, Sequence[int]]
"""One tokenised example: ``input_ids`` and, where the tokenizer gives them, ``token_type_ids``."""

Call = Callable[[Any], Any]
"""Answers one batch; whatever a user waits for happens inside: packing or padding, the model, logits on the host."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saved:
    """A contender on disk, as another process can build it; JSON values only.

    Attributes:
        engine: Key of `ENGINES`.
        path: What the engine wrote: a folder or a file.
        pad_token_id: Fills shorter examples where batches are padded.
        parts: What differs from the saved configuration of ours: "attention", "pruner", "exit" to their specs.
        device: Type of the device: "cpu" or "cuda".
        dtype: Name of the weights' type.
    """

    engine: str
    path: str
    pad_token_id: int = 0
    parts: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def place(self) -> dict[str, Any]:
        """Device and type of the weights, as `torch.nn.Module.to` takes them."""
        return {"device": torch.device(self.device), "dtype": getattr(torch, self.dtype)}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A trained model as all engines are given it, so that they share what is made of it.

    Attributes:
        trained: The model with the weights as they were trained; it is not changed.
        dtype: The weights' type for engines that have none of their own; None for the trained one.
        token_types: Whether examples have ``token_type_ids``.
    """

    trained: AdaptiveForSequenceClassification
    dtype: torch.dtype | None = None
    token_types: bool = True

    @cached_property
    def model(self) -> AdaptiveForSequenceClassification:
        """The model in the type wanted."""
        return cast(self.trained, self.dtype)

    @cached_property
    def hugging_face(self) -> PreTrainedModel:
        """The same weights, in the type wanted, as Hugging Face's own class."""
        return self.model.to_hugging_face()


@runtime_checkable
class Engine(Protocol):
    """Runs a model; add one as a file in this folder and a line in `ENGINES`."""

    @property
    def title(self) -> str:
        """Its name in tables and figures."""

    @property
    def dtype(self) -> str | None:
        """What it computes in, whatever the weights' type; None where it follows them."""

    @property
    def exact(self) -> bool:
        """Whether it computes the model's own function up to rounding, so that its quality is the model's."""

    @property
    def grouped(self) -> bool:
        """Whether its batches hold examples of like length."""

    @property
    def exported(self) -> bool:
        """Whether it answers from files alone, so that ``benchmark.onnx=false`` saves an export."""

    def why_not(self, device: torch.device) -> str | None:
        """Say why it cannot be measured here, or None where it can."""
        ...

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Write what another process can load, or find it there.

        Args:
            source: The model.
            folder: Of this model's files alone; engines of one kind share theirs.
            name: The engine's key in `ENGINES`.
        """
        ...

    def call(self, source: Source | Saved) -> Call:
        """Return what answers batches; an exported engine takes what was saved only."""
        ...


def cast(model: AdaptiveForSequenceClassification, dtype: torch.dtype | None) -> AdaptiveForSequenceClassification:
    """Return a model with weights of another type, or itself where they are of that type."""
    if dtype is None or next(model.parameters()).dtype == dtype:
        return model
    twin = copy.deepcopy(model)
    torch.nn.Module.to(twin, dtype=dtype)  # transformers' own `to` hides its types
    return twin


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
