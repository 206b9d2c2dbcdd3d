"""What times calls: the host's clock, on CUDA the device's own events; and threads that stay fixed meanwhile."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Clock = Callable[[], float]
"""Seconds, monotonic."""


def clock_of(device: torch.device) -> Clock:
    """Return what times calls on a device: the host's clock, on CUDA one made of events."""
    return CudaClock(device) if device.type == "cuda" else time.perf_counter


class CudaClock:
    """A clock of CUDA events: waits for all work of the device, then reads the device's own time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._last = self._event()

    def __call__(self) -> float:
        """Return the seconds since the clock was made."""
        event = self._event()
        self._seconds += self._last.elapsed_time(event) / 1e3  # summed up here: events keep single precision
        self._last = event
        return self._seconds

    def _event(self) -> Any:
        torch.cuda.synchronize(self.device)
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        event.synchronize()
        return event


@contextmanager
def num_threads(threads: int) -> Iterator[None]:
    """Fix the number of threads inside torch's operators, at least 1, for a while."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
