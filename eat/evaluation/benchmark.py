"""How fast, side by side in one process, on real inputs: latency at batch 1, throughput at larger batches.

All contenders see the same examples, interleaved round by round, and every ratio is paired within a round. What comes
out is plain JSON, so that tables can be rebuilt where the weights are gone.
"""

import dataclasses
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from eat.evaluation.contenders import ALL_OFF, PADDED, Contender, Encoded, build_contenders
from eat.evaluation.sweep import ExitSpec
from eat.evaluation.timing import num_threads, summarise, time_rounds, warm_up
from eat.models.classifier import AdaptiveForSequenceClassification

MIN_EXAMPLES = 32


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
        seed: Of the draw.
    """

    examples: int = 128
    seconds: int | float = 30
    rounds: int = 5
    warmup: int = 10
    batch_sizes: Sequence[int] = (1, 32)
    threads: Sequence[int] = ()
    thresholds: Sequence[float] = (0.80, 0.85, 0.90, 0.95)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: Naming the one that is out of range.
        """
        for name in ("examples", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"benchmark.{name} must be at least 1, got {getattr(self, name)}")
        if not self.seconds > 0:
            raise ValueError(f"benchmark.seconds must be above 0, got {self.seconds}")
        if self.warmup < 0:
            raise ValueError(f"benchmark.warmup must be at least 0, got {self.warmup}")
        for name in ("batch_sizes", "threads"):
            if any(value < 1 for value in getattr(self, name)):
                raise ValueError(f"benchmark.{name} must hold numbers of at least 1, got {list(getattr(self, name))}")


def draw_examples(total: int, settings: BenchmarkSettings) -> Int[np.ndarray, " drawn"]:
    """Draw the examples to measure with, in random order, without repetition."""
    order = np.random.default_rng(settings.seed).permutation(total)
    return order[: settings.examples]


def run_benchmark(
    model: AdaptiveForSequenceClassification,
    examples: Sequence[Encoded],
    exits: Sequence[ExitSpec],
    settings: BenchmarkSettings,
) -> dict[str, Any]:
    """Measure every contender.

    Args:
        model: The trained model, on the device to measure on.
        examples: Token ids, in random order.
        exits: Operating points to measure live.
        settings: How much is measured.

    Returns:
        ``environment``, ``settings``, ``measurements`` (one per contender, batch size and thread count) and ``answers``
        (predictions of each contender at batch size 1, to be checked against the replayed ones).

    Raises:
        ValueError: If there are no examples.
    """
    if not examples:
        raise ValueError("examples must hold at least one, got none")
    contenders = build_contenders(model, exits)
    measurements = []
    for threads in settings.threads or (torch.get_num_threads(),):
        with num_threads(threads):
            for batch_size in settings.batch_sizes:
                measurements += _measure(contenders, examples, batch_size, threads, settings)
    timed = examples[: max(measured["examples"] for measured in measurements)]
    with torch.inference_mode():
        answers = {c.name: [c.call([example])[0].tolist() for example in timed] for c in contenders}
    return {
        "environment": describe_machine(model),
        "settings": {key: _plain(value) for key, value in dataclasses.asdict(settings).items()},
        "measurements": measurements,
        "answers": answers,
    }


def describe_machine(model: AdaptiveForSequenceClassification) -> dict[str, Any]:
    """Name what the times depend on: device, precision and versions."""
    parameter = next(model.parameters())
    on_gpu = parameter.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(parameter.device) if on_gpu else "cpu",
        "cpu": _cpu_name(),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        **({"tf32": torch.backends.cuda.matmul.allow_tf32, "cuda": torch.version.cuda} if on_gpu else {}),
    }


def _measure(
    contenders: Sequence[Contender],
    examples: Sequence[Encoded],
    batch_size: int,
    threads: int,
    settings: BenchmarkSettings,
) -> list[dict[str, Any]]:
    """Time the contenders at one batch size; grouping by length changes nothing at batch size 1 and is left out."""
    running = {c.name: c for c in contenders if batch_size > 1 or not c.grouped}
    calls = {name: c.call for name, c in running.items()}
    all_batches = _batches(examples, batch_size)
    round_seconds = warm_up(calls, all_batches, settings.warmup) * len(all_batches)
    if round_seconds * settings.rounds > settings.seconds:
        fitting = int(len(examples) * settings.seconds / (round_seconds * settings.rounds))
        examples = examples[: max(MIN_EXAMPLES, fitting // batch_size * batch_size)]
    by_length = sorted(examples, key=lambda example: len(example["input_ids"]))
    seconds = time_rounds(
        calls,
        {name: _batches(by_length if c.grouped else examples, batch_size) for name, c in running.items()},
        rounds=settings.rounds,
        block=max(1, 16 // batch_size),
    )
    versus = {baseline: summarise(seconds, len(examples), baseline) for baseline in (PADDED, ALL_OFF)}
    return [
        {
            "contender": c.name,
            "engine": c.engine,
            "exit": c.exit,
            "batch_size": batch_size,
            "threads": threads,
            "examples": len(examples),
            "latency_ms": list(versus[PADDED][c.name].latency_ms),
            "examples_per_s": versus[PADDED][c.name].examples_per_s,
            "speedup": {
                baseline: [timing[c.name].speedup, timing[c.name].speedup_low, timing[c.name].speedup_high]
                for baseline, timing in versus.items()
            },
        }
        for c in running.values()
    ]


def _batches(examples: Sequence[Encoded], size: int) -> list[Sequence[Encoded]]:
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _cpu_name() -> str:
    """Return the processor's name as the system gives it, else the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
