"""A clock that says what a test wants."""

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
