"""Size, latency and accuracy of single queries, worked by hand."""

import pytest

from eat.benchmark.queries import QUERIES, Candidate, measure_queries, stored_bytes
from eat.results.figures.queries import draw_families, draw_queries
from tests.made.clock import WorkClock

TEXTS = ["good", "bad", "fine", "poor"]
LABELS = [1, 0, 1, 0]


def measured(durations, warm_ups, folder):
    """Measure one that is always right and takes ``durations`` (ms) call by call, and one that says 1 at once."""
    clock, left = WorkClock(), iter(durations)
    asked = []

    def right(text):
        asked.append(text)
        clock.work(next(left) / 1e3)
        return LABELS[TEXTS.index(text)]

    candidates = {
        "right": Candidate(right, folder, classify_all=lambda texts: [LABELS[TEXTS.index(text)] for text in texts]),
        "always 1": Candidate(lambda _: 1),
    }
    queries = len(durations) - warm_ups
    rows = measure_queries(candidates, TEXTS, LABELS, queries=queries, warm_ups=warm_ups, threads=1, clock=clock)
    return rows, asked


def test_latency_is_of_the_calls_after_the_warm_ups_and_accuracy_of_all_texts(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"0" * 2**20)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "segment.onnx").write_bytes(b"0" * 2**19)
    (tmp_path / "tokenizer.json").write_bytes(b"0" * 999)
    (right, one), asked = measured([500, 500, 2, 4, 6, 2, 6], warm_ups=2, folder=tmp_path)
    assert asked == ["good", "bad", "fine", "poor", "good", "bad", "fine"]
    assert right["latency_ms_mean"] == pytest.approx(4.0)
    assert right["latency_ms_std"] == pytest.approx(2.0)
    assert (right["accuracy"], right["size_mib"]) == (1.0, 1.5)
    assert (one["accuracy"], one["size_mib"], one["latency_ms_mean"]) == (0.5, None, pytest.approx(0.0))
    assert [(row["examples"], row["queries"], row["threads"]) for row in (right, one)] == [(4, 5, 1)] * 2


def test_sizes_are_of_weights_a_file_or_a_number(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"0" * 10)
    assert [stored_bytes(size, "x") for size in (path, tmp_path, 7, None)] == [10, 10, 7, None]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"candidates": {}}, "candidates: expected some classifiers by name, got none"),
        ({"texts": []}, "labels: expected one for each text, got 4 for 0 texts"),
        ({"labels": [1]}, "labels: expected one for each text, got 1 for 4 texts"),
        ({"queries": 1}, "queries: expected an integer of 2 or more, got 1"),
        ({"warm_ups": -1}, "warm_ups: expected an integer of 0 or more, got -1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(options, said):
    def never(_):
        raise AssertionError

    given = {"candidates": {"never": Candidate(never)}, "texts": TEXTS, "labels": LABELS} | options
    with pytest.raises(ValueError, match=said):
        measure_queries(**given)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^mine: expected weights \(\.safetensors, .* got none$"):
        measure_queries({"mine": Candidate(str, tmp_path)}, TEXTS, LABELS)


def test_fewer_answers_than_texts_are_refused():
    candidate = Candidate(lambda _: 1, classify_all=lambda texts: texts[1:])
    with pytest.raises(ValueError, match="classify_all: expected an answer for each of 4 texts, got 3"):
        measure_queries({"mine": candidate}, TEXTS, LABELS, queries=2)


@pytest.mark.figures
def test_rows_are_stored_and_drawn(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"0" * 2**21)
    rows, _ = measured([1, 2, 3], warm_ups=0, folder=tmp_path / "weights")
    QUERIES.write(tmp_path / "queries.csv", rows)
    read = QUERIES.read(tmp_path / "queries.csv")
    assert [row["size_mib"] for row in read] == [2.0, None]
    rows[1]["latency_ms_mean"] = 0.5  # a logarithmic axis has no 0
    draw_queries(rows, tmp_path / "queries", "made up")
    assert (tmp_path / "queries.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "queries.pdf").read_bytes().startswith(b"%PDF")
    four = [{**rows[0], "name": name, "family": family} for name, family in zip("abcd", "wxyz", strict=True)]
    draw_families([rows[1], *four], tmp_path / "families", "made up")  # a second line of panels, not full
    assert (tmp_path / "families.png").read_bytes().startswith(b"\x89PNG")
