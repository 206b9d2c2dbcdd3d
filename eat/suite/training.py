"""The part about training speed: ours against the Hugging Face Trainer."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from eat.benchmark.clock import num_threads
from eat.benchmark.protocol import measure
from eat.suite.contest import budget_of, timed_row
from eat.suite.inputs import real_lengths
from eat.suite.records import Row
from eat.suite.settings import SuiteSettings
from eat.suite.shapes import shape_config
from eat.training.throughput import Epoch, training_contenders

BATCH_SIZE = 32


class EpochClock:
    """A clock that moves on by what epochs say they took: their set-up is not timed."""

    def __init__(self, epochs: Mapping[str, Epoch]) -> None:
        self.calls = {name: partial(self._run, epoch) for name, epoch in epochs.items()}
        self._seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds of all epochs so far."""
        return self._seconds

    def _run(self, epoch: Epoch, _: Any) -> None:
        self._seconds += epoch()


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
            clock = EpochClock(epochs)
            budget = budget_of(settings.seconds, settings.rounds, warmup=1)
            timed = measure(clock.calls, lengths.tolist(), len(lengths), budget, clock=clock, training=True)
        for name in epochs:
            row = timed_row(timed, next(iter(epochs)), name, float(lengths.mean()))
            yield row | {"inputs": "sst2", "batch_size": BATCH_SIZE, "threads": threads, "engine": name}
