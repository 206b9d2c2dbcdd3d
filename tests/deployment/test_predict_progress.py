"""What is said while a file is predicted: how far it is, how fast, and how long it takes yet."""

import sys

import pytest

from eat.deployment.prediction import progress
from tests.made.clock import WorkClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WorkClock:
    made = WorkClock()
    monkeypatch.setattr("eat.deployment.prediction.progress.time.monotonic", made)
    return made


def test_a_log_has_a_line_now_and_then(clock: WorkClock, capsys: pytest.CaptureFixture[str]) -> None:
    share = 0.2
    shown = progress.Progress(lambda: share, shown=True)
    shown.begin(1000)  # rows that an earlier process answered do not count as fast
    clock.work(20)
    shown.update(1500)
    assert capsys.readouterr().err == "", "too early"
    clock.work(20)
    share = 0.4
    shown.update(2000)
    assert capsys.readouterr().err == "2,000 rows, 25 rows/s, 40%, 2 min remaining\n"
    shown.end()
    assert capsys.readouterr().err == ""


def test_a_terminal_has_one_line_without_a_size_no_time(
    clock: WorkClock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = progress.Progress(lambda: None, shown=True)
    shown.begin(0)
    for rows in (100, 200):
        clock.work(1)
        shown.update(rows)
    shown.end()
    lines = capsys.readouterr().err.split("\r")[1:]
    assert [line.strip() for line in lines] == ["100 rows, 100 rows/s", "200 rows, 100 rows/s"]


def test_nothing_is_said_where_nothing_is_to_be(clock: WorkClock, capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress.Progress(lambda: 0.5, shown=False)
    shown.begin(0)
    clock.work(100)
    shown.update(10)
    shown.end()
    assert capsys.readouterr().err == ""
