"""Clocks that say what a test wants."""

from collections.abc import Callable, Iterator


def ticking_clock(durations: list[float]) -> Callable[[], float]:
    """Build a clock that moves on by the given durations, one for each timed call."""

    def ticks() -> Iterator[float]:
        now = 0.0
        for duration in durations:
            yield now
            now += duration
            yield now

    times = ticks()
    return lambda: next(times)


class WorkClock:
    """A clock that moves on only where work is done: by `work`, which a call may be."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds
