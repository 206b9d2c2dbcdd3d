"""Means over seeds, worked by hand."""

from eat.evaluation.between_runs.seeds import seed_table
from eat.evaluation.report.table import Row, make_row

VARYING = ("pruner", "seed")


def report(seed: int, value: float, pruner: str = "none", ms: float | None = None) -> dict[int | None, Row]:
    row = make_row(task="sst2", split="validation", exit="never", pruner=pruner, seed=seed, value=value)
    return {1: row | {"batch_size": 1, "latency_ms_p50": ms}}


def test_mean_and_sample_deviation() -> None:
    header, _, line = seed_table([report(0, 0.8, ms=2.0), report(1, 0.9, ms=4.0)], VARYING).splitlines()
    assert header.startswith("mean and deviation over seeds")
    assert line.split("  ")[0] == "sst2, 2 seeds"
    assert "0.8500 ± 0.0707" in line
    assert "3.00 ± 1.41" in line


def test_groups_differ_in_more_than_their_seed() -> None:
    reports = [report(0, 0.8), report(1, 0.9), report(0, 0.5, pruner="random")]
    lines = seed_table(reports, VARYING).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["pruner none, 2 seeds"]
    assert "-" in lines[2]  # nothing was timed


def test_nothing_to_average() -> None:
    assert seed_table([report(0, 0.8), report(0, 0.9)], VARYING) == ""
    assert seed_table([report(0, 0.8)], VARYING) == ""
