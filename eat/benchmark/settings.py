"""How much a benchmark measures."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from eat.checks import number, one_of, whole_number

MIN_EXAMPLES = 32
DTYPES = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """How much is measured."""

    examples: int = 128  # at most so many examples of the reported split, drawn at random
    seconds: int | float = 30  # about so long for one batch size; slow models get fewer examples, 32 at least
    rounds: int = 5  # how often all contenders answer all of them
    warmup: int = 10  # untimed calls of each contender at each batch size before
    batch_sizes: Sequence[int] = (1, 32)  # 1 is the gateway, 32 the queue
    threads: Sequence[int] = ()  # threads inside operators, one measurement each; empty for as many as torch uses now
    thresholds: Sequence[float] = (0.80, 0.85, 0.90, 0.95)  # the paper's; beside the own point
    dtype: str = "float32"  # of the weights, ours and Hugging Face's alike; float16 on a GPU only
    shortcut_runs: Sequence[str] = ()  # folders of runs trained with ``backbone.num_layers``: the static shortcuts
    onnx: bool = True  # whether engines that need an export take part, as ONNX Runtime does; it takes some seconds
    memory: bool = True  # whether each contender's peak memory is measured, in a process of its own
    seed: int = 0  # of the draw

    def __post_init__(self) -> None:
        """Refuse a number out of range."""
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
