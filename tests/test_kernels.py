"""Numbers that belong to a machine: measured once, kept, overridden, and never a reason to fail."""

import json
import logging
import subprocess
import sys

import pytest
import torch

from eat import kernels
from eat.kernels import Measured, cache_file
from eat.ops import linear
from eat.ops.grouping import SLACK_ROWS
from eat.runs.environment import continue_with_kernels, write_environment

INF = float("inf")


@pytest.fixture(autouse=True)
def fresh_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("EAT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("EAT_KERNELS")
    yield
    for each in Measured.known.values():
        each.forget()


@pytest.fixture
def made_up():
    """A number whose measurement is known, with the times that it was measured."""
    times = []
    made = Measured("made_up", 7.0, lambda: times.append(1) or 3.5, "of a test")
    yield made, times
    del Measured.known["made_up"]


def test_it_is_measured_once_and_then_read(made_up):
    made, times = made_up
    assert [made.value(), made.value()] == [3.5, 3.5]
    made.forget()  # as another process would begin
    assert made.value() == 3.5
    assert len(times) == 1
    kernels.measure_anew()
    assert len(times) == 2


def test_each_number_of_threads_has_its_own(made_up):
    made, times = made_up
    before = torch.get_num_threads()
    made.value()
    try:
        torch.set_num_threads(before + 1)
        made.value()
    finally:
        torch.set_num_threads(before)
    assert len(times) == 2
    assert cache_file(1) != cache_file(2)


def test_what_another_process_kept_meanwhile_counts(made_up):
    made, _ = made_up
    path = cache_file(torch.get_num_threads())

    def measured_by_both():
        path.parent.mkdir(parents=True)
        path.write_text('{"made_up": 9}')
        return 3.5

    made.measure = measured_by_both
    assert made.value() == 9


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"made_up": "much"}', '{"made_up": -1}', '{"made_up": NaN}'])
def test_a_damaged_file_is_measured_anew(made_up, content):
    path = cache_file(torch.get_num_threads())
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert made_up[0].value() == 3.5
    assert json.loads(path.read_text())["made_up"] == 3.5


def test_a_folder_that_cannot_be_written_is_no_error(made_up, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EAT_CACHE_DIR", str(tmp_path / "file"))
    assert made_up[0].value() == 3.5


def test_infinity_is_kept(made_up):
    made, _ = made_up
    made.measure = lambda: INF
    assert made.value() == INF
    made.forget()
    made.measure = None
    assert made.value() == INF


@pytest.mark.parametrize(
    ("typed", "value"),
    [("default", 7), ("made_up=2", 2), (" slack_rows=1 , made_up=inf", INF), ("made_up=2,default", 2)],
)
def test_the_environment_variable_comes_first(made_up, monkeypatch, typed, value):
    monkeypatch.setenv("EAT_KERNELS", typed)
    made, times = made_up
    kernels.use({"made_up": 5})
    assert made.value() == value
    assert not times


def test_what_the_variable_does_not_name_is_measured_all_the_same(made_up, monkeypatch):
    monkeypatch.setenv("EAT_KERNELS", "slack_rows=4")
    made, times = made_up
    assert made.value() == 3.5
    assert len(times) == 1
    assert SLACK_ROWS.value() == 4


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("onednn", r"EAT_KERNELS: expected 'default' or name=number .* got 'onednn' \(did you mean 'onednn_from'\?\)"),
        ("slak_rows=3", r"names out of \[.*'slack_rows'\], got 'slak_rows=3' \(did you mean 'slack_rows'"),
        ("slack_rows=-1", "EAT_KERNELS: slack_rows: expected a number of 0 or more, or inf, got '-1'"),
        ("slack_rows=a", "EAT_KERNELS: slack_rows: expected a number of 0 or more, or inf, got 'a'"),
    ],
)
def test_a_wrong_variable_is_one_line(monkeypatch, typed, message):
    monkeypatch.setenv("EAT_KERNELS", typed)
    with pytest.raises(ValueError, match=message):
        SLACK_ROWS.value()


def test_a_measurement_leaves_the_callers_state_alone():
    generator = torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16):
        values = kernels.measure_anew()
    assert torch.equal(torch.get_rng_state(), generator)
    assert values.keys() >= {"onednn_from", "slack_rows"}
    assert values["onednn_from"] >= 0 and 1 <= values["slack_rows"] <= 64


@pytest.mark.parametrize(
    ("onednn", "expected"),
    [
        ([1, 1, 1, 1, 1, 1], 0.0),
        ([9, 9, 9, 1, 1, 1], 16 * 384**2),
        ([1, 1, 9, 1, 1, 1], 16 * 384**2),
        ([9, 9, 9, 9, 9, 9], INF),
        ([1, 1, 1, 1, 1, 1.99], INF),  # no more than noise at the largest
    ],
)
def test_onednn_is_taken_where_it_wins_at_all_larger_sizes(monkeypatch, onednn, expected):
    if linear._ONEDNN is None:
        pytest.skip("this torch has no oneDNN")
    left = list(onednn)
    monkeypatch.setattr(linear, "fastest", lambda calls: {"torch": 2.0, "onednn": float(left.pop())})
    assert linear._measure_onednn_from() == expected


def test_a_run_is_continued_with_the_kernels_that_it_noted(tmp_path, caplog):
    path = tmp_path / "environment.json"
    kernels.use({"slack_rows": 5, "onednn_from": INF, "int8_gain": 2})
    write_environment(path, seed=0, data="x", device="cpu")
    noted = json.loads(path.read_text())
    assert noted["kernels"].items() >= {"slack_rows": 5, "onednn_from": "inf"}.items()
    kernels.use({"slack_rows": 6, "onednn_from": 0})
    continue_with_kernels(path)
    assert (SLACK_ROWS.value(), linear.ONEDNN_FROM.value()) == (5, INF)
    kernels.use({"slack_rows": 6})
    path.write_text(json.dumps(noted | {"cpu": "another"}))
    with caplog.at_level(logging.WARNING):
        continue_with_kernels(path)
    assert SLACK_ROWS.value() == 6
    assert "begun on another" in caplog.text and "last digits" in caplog.text
    path.write_text(json.dumps({key: value for key, value in noted.items() if key != "kernels"}))
    continue_with_kernels(path)  # an older run's


def test_the_command_shows_them(monkeypatch):
    monkeypatch.setenv("EAT_KERNELS", "default,slack_rows=4")
    command = [sys.executable, "-m", "eat", "kernels"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "EAT_KERNELS=default,slack_rows=4" in shown
    assert "slack_rows=4  # rows of padding" in shown and "onednn_from=600000" in shown
    wrong = subprocess.run([*command, "fresh=yes"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and "expected fresh=true, got 'fresh=yes'" in wrong.stderr
