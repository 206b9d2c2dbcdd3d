"""Rows keep what was measured and leave the rest empty; tables line up."""

from pathlib import Path

import pytest

from eat.evaluation.report.rows import is_point, row_label
from eat.evaluation.report.table import (
    COLUMNS,
    delta_text,
    make_row,
    number,
    read_rows,
    render,
    speedup_text,
    write_rows,
)
from eat.exits.points import OperatingPoint


def test_columns_are_those_of_the_architecture() -> None:
    expected = """experiment, run, commit, task, split, data, budget, model, backbone, num_layers, attention, window,
    pruner, depths, ratio, head_depths, head_pooling, objective, exit, threshold, patience, seed, examples, metric,
    value, delta_points, delta_low, delta_high, ece, avg_depth, retention, gflops, flops_ratio, engine, batch_size,
    threads, device, dtype, latency_ms_p50, latency_ms_p95, latency_ms_p99, examples_per_s, baseline, speedup,
    speedup_low, speedup_high"""
    later = """speedup_tokenised, speedup_tokenised_low, speedup_tokenised_high, efficiency, peak_memory_mib,
    peak_memory_over_loaded_mib, note"""
    assert [name.strip() for name in f"{expected}, {later}".split(",")] == list(COLUMNS)


def test_older_files_lack_later_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    first = COLUMNS[: COLUMNS.index("speedup_high") + 1]
    path.write_text(",".join(first) + "\n" + "," * (len(first) - 1) + "1.5\n")
    (row,) = read_rows(path)
    assert (row["speedup_high"], row["efficiency"], row["note"]) == (1.5, None, None)
    path.write_text(",".join(first[:-1]) + "\n")
    with pytest.raises(ValueError, match="expected the results columns"):
        read_rows(path)


def test_rows_survive_the_disk(tmp_path: Path) -> None:
    rows = [
        make_row(
            run="a", commit="12e4567", depths=(2, 4), ratio=0.3, threshold=0.9, patience=1, value=0.25, data="x, y"
        ),
        make_row(run="b", num_layers=6),
    ]
    write_rows(tmp_path / "report" / "results.csv", rows)
    first, second = read_rows(tmp_path / "report" / "results.csv")
    assert first == rows[0] | {"depths": "2;4", "ratio": "0.3"}
    assert second == rows[1]
    assert isinstance(first["patience"], int)
    assert isinstance(first["threshold"], float)


def test_thresholds_per_class_survive_the_disk(tmp_path: Path) -> None:
    row = make_row(model="eat", exit="confidence", threshold=[0.8, 0.95])
    write_rows(tmp_path / "rows.csv", [row])
    (read,) = read_rows(tmp_path / "rows.csv")
    assert read == row
    assert is_point(read, OperatingPoint.of({"name": "confidence", "threshold": [0.8, 0.95]}))
    assert row_label(read) == "eat, confidence 0.8,0.95"


def test_unknown_column_is_named() -> None:
    with pytest.raises(ValueError, match=r"no such results columns: \['acuracy'\]"):
        make_row(acuracy=0.5)


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected the results columns"):
        read_rows(tmp_path / "results.csv")


def test_table_lines_up() -> None:
    assert render(["name", "ms"], [["a", "1.5"], ["long", "20.0"]]).splitlines() == [
        "name    ms",
        "----  ----",
        "a      1.5",
        "long  20.0",
    ]
    assert render(["name", "ms"], [["a", "1.5"]], markdown=True).splitlines() == [
        "| name |  ms |",
        "| ---- | --: |",
        "| a    | 1.5 |",
    ]


@pytest.mark.parametrize(("value", "text"), [(None, "-"), ("", "-"), (0.12345, "0.123"), (2, "2.000")])
def test_what_was_not_measured_is_a_dash(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("speedup", "text"),
    [
        ((None, None, None), "-"),
        ((1.0, 1.0, 1.0), "1.00x"),
        ((1.5, 1.4, 1.6), "1.50x [1.40, 1.60]"),
        ((1.1, 0.9, 1.2), "no difference [0.90, 1.20]"),
        ((0.8, 0.7, 0.9), "0.80x [0.70, 0.90]"),
    ],
)
def test_no_difference_is_said(speedup: tuple[float | None, ...], text: str) -> None:
    assert speedup_text(dict(zip(("speedup", "speedup_low", "speedup_high"), speedup, strict=True))) == text


def test_delta_shows_its_interval() -> None:
    assert delta_text({"delta_points": -0.5, "delta_low": -1.0, "delta_high": 0.125}) == "-0.50 [-1.00, +0.12]"
    assert delta_text({"delta_points": None}) == "-"
