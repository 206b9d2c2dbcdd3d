"""The part about training speed. The trainers come from outside: evaluation and training are one layer."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from transformers import PreTrainedConfig

from eat.benchmark.clock import num_threads, summarise
from eat.suite.compare import Budget
from eat.suite.inputs import real_lengths
from eat.suite.records import Row
from eat.suite.settings import SuiteSettings
from eat.suite.shapes import shape_config

BATCH_SIZE = 32


@runtime_checkable
class TrainingContenders(Protocol):
    """Builds what trains: name -> a call that trains for one epoch and returns its seconds; the baseline first."""

    def __call__(
        self,
        config: PreTrainedConfig,
        lengths: Int[np.ndarray, " examples"],
        *,
        batch_size: int,
        bf16: bool,
        device: torch.device,
        seed: int,
    ) -> Mapping[str, Callable[[], float]]:
        """Build them for one shape of encoder and these lengths."""
        ...


def training_rows(shape: str, dtype: torch.dtype, settings: SuiteSettings, build: TrainingContenders) -> Iterator[Row]:
    """Measure training throughput in interleaved epochs over the same examples with SST-2's lengths."""
    lengths = np.resize(
        np.random.default_rng(settings.seed).permutation(real_lengths("sst2")), settings.training_steps * BATCH_SIZE
    )
    for threads in settings.thread_counts:
        with num_threads(threads):
            epochs = build(
                shape_config(shape),
                lengths,
                batch_size=BATCH_SIZE,
                bf16=dtype == torch.bfloat16,
                device=settings.torch_device,
                seed=settings.seed,
            )
            warm = sum(epoch() for epoch in epochs.values())
            _, rounds = Budget(settings.seconds, settings.rounds, warmup=1).fit(warm, 1, 1)
            seconds = {name: np.zeros((rounds, 1)) for name in epochs}
            for done in range(rounds):
                for name, epoch in epochs.items():
                    seconds[name][done] = epoch()
        timings = summarise(seconds, len(lengths), next(iter(epochs)))
        for name, timing in timings.items():
            yield {
                "inputs": "sst2",
                "batch_size": BATCH_SIZE,
                "threads": threads,
                "contender": name,
                "engine": name,
                "examples": len(lengths),
                "rounds": rounds,
                "warmup": 1,
                "examples_per_s": timing.examples_per_s,
                "tokens_per_s": timing.examples_per_s * float(lengths.mean()),
                "baseline": next(iter(epochs)),
                "speedup": timing.speedup,
                "speedup_low": timing.speedup_low,
                "speedup_high": timing.speedup_high,
            }
