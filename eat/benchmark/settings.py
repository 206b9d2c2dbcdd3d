"""How much a benchmark measures."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from eat.checks import number, one_of, whole_number

MIN_EXAMPLES = 32
DTYPES = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """How much is measured.

    Attributes:
        examples: At most so many examples of the reported split, drawn at random.
        seconds: About so long may the rounds of one batch size take; a slow model is measured on fewer examples, but on
            32 or more.
        rounds: How often all contenders answer all of them.
        warmup: Untimed calls of each contender at each batch size before.
        batch_sizes: 1 is the gateway, 32 the queue.
        threads: Threads inside operators, one measurement each; empty for as many as torch uses now.
        thresholds: Measured live beside the run's own point and full depth; the paper's.
        dtype: Of the weights, ours and Hugging Face's alike; float16 on a GPU only.
        shortcut_runs: Folders of runs trained with ``backbone.num_layers``: the static shortcuts.
        onnx: Whether engines that need an export take part, as ONNX Runtime does; it takes some seconds.
        memory: Whether each contender's peak memory is measured, in a process of its own.
        seed: Of the draw.
    """

    examples: int = 128
    seconds: int | float = 30
    rounds: int = 5
    warmup: int = 10
    batch_sizes: Sequence[int] = (1, 32)
    threads: Sequence[int] = ()
    thresholds: Sequence[float] = (0.80, 0.85, 0.90, 0.95)
    dtype: str = "float32"
    shortcut_runs: Sequence[str] = ()
    onnx: bool = True
    memory: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: Naming the one that is out of range.
        """
        for name, least in (("examples", 1), ("rounds", 1), ("warmup", 0)):
            whole_number(f"benchmark.{name}", getattr(self, name), least)
        number("benchmark.seconds", self.seconds, above=0)
        for name in ("batch_sizes", "threads"):
            for value in getattr(self, name):
                whole_number(f"benchmark.{name}", value)
        one_of("benchmark.dtype", self.dtype, DTYPES)

    def to_json(self) -> dict[str, Any]:
        """Return the values, as JSON has them."""
        lists = ("batch_sizes", "threads", "thresholds", "shortcut_runs")
        return vars(self) | {name: list(getattr(self, name)) for name in lists}
