"""What the suite measures and how long; one flat set of values, each checked where it comes in."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from eat.checks import MOST_THREADS, number, several, shown, some_of, whole_number, whole_numbers
from eat.machine import chosen_device, device_name, num_cores
from eat.suite.shapes import SHAPES

PART_NAMES = ("serving", "pruning", "depth", "windowed", "curves", "memory", "training", "pool")
"""The parts, in the order in which they are measured: short ones first."""
DEVICES = ("auto", "cpu", "cuda")
CURVE_LENGTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """How much is measured."""

    parts: Sequence[str] | None = None  # out of `PART_NAMES`; None for all, [] only draws
    shapes: Sequence[str] = ("minilm", "bert_base")  # out of `SHAPES`
    threads: Sequence[int] | None = None  # threads inside operators, one measurement each; None for 1 and all cores
    seconds: int | float = 8  # about so long for each contest, warm-up included; slow ones get fewer rounds (3 at
    # least), then fewer examples; with fewer than 8 batches there is no interval
    rounds: int = 5  # how often all contenders of a comparison answer everything
    warmup: int = 10  # untimed calls of each contender before
    examples: int = 256  # at most so many examples of a comparison
    lengths: Sequence[int] = (512, 1024, 2048, 4096)  # windowed over full attention
    heavy_shapes: Sequence[str] = ("minilm",)  # shapes of the parts that take long: curves, training, pool
    curve_lengths: Sequence[int] = CURVE_LENGTHS  # lengths of the cost curves, in tokens
    curve_batch_sizes: Sequence[int] = (1, 8, 32, 128)  # batch sizes of the cost curves
    curve_tokens: int = 8192  # most tokens in a batch of the cost curves; longer combinations are left out
    curve_seconds: int | float = 3  # as ``seconds``, for each point of the curves
    memory_batches: Sequence[Sequence[int]] = ((8, 512), (1, 4096))  # (batch size, length)
    training_steps: int = 10  # optimiser steps of a round of training
    device: str = "auto"  # a torch device, or "auto" for the first GPU where there is one
    seed: int = 0  # of weights, draws and token ids

    def __post_init__(self) -> None:
        """Refuse an unknown name or a number out of range."""
        some_of("parts", PART_NAMES if self.parts is None else self.parts, PART_NAMES)
        for name in ("shapes", "heavy_shapes"):
            some_of(name, getattr(self, name), SHAPES)
        for name in ("seconds", "curve_seconds"):
            number(name, getattr(self, name), above=0)
        for name in ("lengths", "curve_lengths", "curve_batch_sizes"):
            whole_numbers(name, getattr(self, name))
        if self.threads is not None:
            whole_numbers("threads", self.threads, at_most=MOST_THREADS)
        for pair in several("memory_batches", self.memory_batches, "[[8,512]]"):
            if len(whole_numbers("memory_batches", pair, "[8,512]")) != 2:
                raise ValueError(f"memory_batches: expected pairs of batch size and length, got {shown(pair)}")
        for name in ("rounds", "examples", "curve_tokens", "training_steps"):
            whole_number(name, getattr(self, name))
        for name in ("warmup", "seed"):
            whole_number(name, getattr(self, name), at_least=0)
        if str(self.device).partition(":")[0] not in DEVICES:
            raise ValueError(f"device: expected auto, cpu or cuda, got {shown(self.device)}")
        device_name("device", self.device)

    @property
    def chosen_parts(self) -> tuple[str, ...]:
        """The parts to measure, in the order of `PART_NAMES`."""
        return tuple(name for name in PART_NAMES if self.parts is None or name in self.parts)

    @property
    def torch_device(self) -> torch.device:
        """The device to measure on."""
        return chosen_device(self.device)

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """Precisions to measure in: float32, and on a GPU bfloat16 as well."""
        return (torch.bfloat16, torch.float32) if self.torch_device.type == "cuda" else (torch.float32,)

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """Thread counts, each once; on a GPU only torch's own, since its operators run elsewhere."""
        if self.threads is not None:
            return tuple(dict.fromkeys(self.threads))
        if self.torch_device.type == "cuda":
            return (torch.get_num_threads(),)
        return tuple(dict.fromkeys((1, num_cores())))

    def measured_values(self) -> Mapping[str, Any]:
        """Return what a measurement depends on, as plain values: all but which parts are wanted."""
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        del values["parts"]
        return values | {"device": str(self.torch_device), "threads": list(self.thread_counts)}
