"""Say how far a prediction is: one line that is redrawn at a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from eat.checks import duration

TERMINAL_S, LOG_S = 0.5, 30.0  # seconds between two lines


class Progress:
    """Rows, rows a second and the time that remains, on stderr.

    Args:
        share_read: How much of the input is read, in [0, 1]; None where its size is not known.
        shown: False says nothing.
    """

    def __init__(self, share_read: Callable[[], float | None], shown: bool) -> None:
        self._share_read, self._shown = share_read, shown
        self._redraws = sys.stderr.isatty()
        self._start: tuple[float, int, float] | None = None  # time, rows and share where this process began to answer
        self._last = time.monotonic()
        self._drawn = False

    def begin(self, rows: int) -> None:
        """Start the clock, behind the rows that an earlier process answered."""
        self._start = (time.monotonic(), rows, self._share_read() or 0.0)

    def update(self, rows: int) -> None:
        """Say how far it is, if it is time; ``rows`` are all that are answered."""
        now = time.monotonic()
        if not self._shown or self._start is None or now - self._last < (TERMINAL_S if self._redraws else LOG_S):
            return
        self._last = now
        began, rows_before, share_before = self._start
        elapsed = max(now - began, 1e-9)
        line = f"{rows:,} rows, {(rows - rows_before) / elapsed:,.0f} rows/s"
        share = self._share_read()
        if share is not None and share > share_before:
            line += f", {share:.0%}, {duration(elapsed * (1 - share) / (share - share_before))} remaining"
        text = f"\r{line:<78}" if self._redraws else f"{line}\n"
        print(text, end="", file=sys.stderr, flush=True)
        self._drawn = self._redraws

    def end(self) -> None:
        """Leave the line."""
        if self._drawn:
            print(file=sys.stderr)
            self._drawn = False
