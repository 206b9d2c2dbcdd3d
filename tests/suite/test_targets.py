"""Figures to reach find their rows, and say why where there are none."""

import pytest

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.suite import timed as parts
from eat.suite.records import TABLE
from eat.suite.report import columns, targets_table
from eat.suite.settings import PART_NAMES
from eat.suite.targets import Figure, Measured, figures, find

PLACE = {"shape": "minilm", "dtype": "float32", "threads": 1, "device": "cpu"}
SERVING = Figure(
    what="x", part="serving", where={"shape": "minilm", "contender": ALL_OFF, "baseline": PADDED}, target=1.25
)


def row(**values):
    return dict.fromkeys(TABLE.columns) | PLACE | values


def timed(part="serving", contender=ALL_OFF, baseline=PADDED, speedup=1.5, **values):
    ends = {"speedup_low": speedup - 0.1, "speedup_high": speedup + 0.1}
    return row(part=part, contender=contender, baseline=baseline, speedup=speedup, **ends | values)


def test_a_figure_finds_its_row():
    rows = [timed(contender=PADDED, speedup=1.0), timed(speedup=1.5), timed(threads=2, speedup=1.1)]
    found = find(SERVING, rows, 1, "float32")
    assert isinstance(found, Measured)
    assert (found.value, found.low, found.high) == (1.5, 1.4, 1.6)
    assert found.reaches(SERVING)
    other = find(SERVING, rows, 2, "float32")
    assert isinstance(other, Measured)
    assert not other.reaches(SERVING)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], r"not measured \(parts=\[serving\] was not run\)"),
        ([timed(threads=2)], r"not measured \(not among the settings\)"),
        ([timed(not_measured="no room")], r"not measured \(no room\)"),
    ],
)
def test_what_was_not_measured_says_why(rows, reason):
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(find(SERVING, rows, 1, "float32"))


def test_efficiency_is_speed_up_times_work():
    figure = next(f for f in figures() if f.column == "efficiency" and f.where["batch_size"] == 32)
    work = {"flops_ratio": 0.75, "efficiency": 0.9}
    rows = [timed("pruning", figure.where["contender"], ALL_OFF, 1.2, inputs="sst2", batch_size=32, **work)]
    found = find(figure, rows, 1, "float32")
    assert isinstance(found, Measured)
    assert (found.value, found.low, found.high) == pytest.approx((0.9, 0.825, 0.975))
    assert found.allowed == pytest.approx(4 / 3)
    assert found.reaches(figure)


@pytest.mark.parametrize("column", ["peak_mib", "over_loaded_mib"])
def test_memory_is_compared_with_the_baselines_peak(column):
    figure = next(f for f in figures() if f.column == column and f.where["batch_size"] == 8)
    at = {"part": "memory", "batch_size": 8, "length": 512}
    ours = row(contender=ALL_OFF, baseline=PADDED, **{column: 300.0}, **at)
    theirs = row(contender=PADDED, **{column: 400.0}, **at)
    found = find(figure, [ours, theirs], 1, "float32")
    assert isinstance(found, Measured)
    assert (found.value, found.reaches(figure)) == (0.75, True)
    assert find(figure, [ours], 1, "float32") == f"not measured ({PADDED} was not)"


def test_at_most_is_the_other_way_round():
    figure = next(f for f in figures() if f.what.startswith("windowed: time"))
    assert (figure.at_most, figure.target) == (True, 2.2)
    assert Measured(2.1, None, None, None).reaches(figure)
    assert not Measured(2.3, None, None, None).reaches(figure)


def test_the_table_has_a_column_for_each_thread_count_and_marks_what_was_missed():
    rows = [
        timed(inputs="sst2", batch_size=1, speedup=1.5),
        timed(inputs="sst2", batch_size=1, speedup=1.2, threads=2),
    ]
    assert columns(rows) == [("float32", 1), ("float32", 2)]
    table = targets_table(rows).splitlines()
    assert "float32, 1 thread " in table[0] and "float32, 2 threads" in table[0]
    first = next(line for line in table if "batch 1, SST-2" in line and "MiniLM" in line)
    assert "1.50x [1.40, 1.60] |" in first
    assert "1.20x [1.10, 1.30], missed" in first
    assert sum("not measured" in line for line in table) == len(table) - 3


def test_every_figure_is_asked_once():
    asked = [(f.what, f.where["shape"], f.device) for f in figures()]
    assert len(asked) == len(set(asked))
    assert {f.device for f in figures()} == {"cpu", "cuda"}


def test_figures_name_columns_contenders_and_parts_that_there_are():
    known = {value for value in vars(parts).values() if isinstance(value, str)}
    for figure in figures():
        assert figure.part in PART_NAMES
        assert set(figure.where) <= set(TABLE.columns) and figure.column in TABLE.columns
        assert {figure.where[key] for key in ("contender", "baseline") if key in figure.where} <= known | {"eat"}


def test_a_gpus_table_asks_for_its_own_figures_in_each_precision():
    place = {"device": "Some GPU", "shape": "bert_base", "inputs": "sst2", "batch_size": 32}
    rows = [timed(dtype=dtype, speedup=speedup, **place) for dtype, speedup in (("bfloat16", 2.0), ("float32", 1.4))]
    table = targets_table(rows).splitlines()
    assert "bfloat16, 1 thread" in table[0] and "float32, 1 thread" in table[0]
    line = next(line for line in table if "batch 32, SST-2" in line)
    assert "at least 1.8x" in line and "2.00x [1.90, 2.10] |" in line and "1.40x [1.30, 1.50], missed" in line
    assert len(table) == 2 + sum(figure.device == "cuda" for figure in figures())
