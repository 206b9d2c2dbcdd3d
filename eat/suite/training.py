"""The part about training speed."""

from collections.abc import Iterator

import numpy as np
import torch

from eat.benchmark.clock import num_threads, summarise
from eat.suite.compare import Budget
from eat.suite.inputs import real_lengths
from eat.suite.records import Row
from eat.suite.settings import SuiteSettings
from eat.suite.shapes import shape_config
from eat.training.throughput import training_contenders

BATCH_SIZE = 32


def training_rows(shape: str, dtype: torch.dtype, settings: SuiteSettings) -> Iterator[Row]:
    """Measure training throughput in interleaved epochs over the same examples with SST-2's lengths."""
    lengths = np.resize(
        np.random.default_rng(settings.seed).permutation(real_lengths("sst2")), settings.training_steps * BATCH_SIZE
    )
    for threads in settings.thread_counts:
        with num_threads(threads):
            epochs = training_contenders(
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
