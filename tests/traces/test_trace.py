"""A trace holds what the model said, survives the disk unchanged and refuses what is broken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.tasks import Task, TaskFacts
from eat.traces.record import record_trace
from eat.traces.storage import read_trace, write_trace
from eat.traces.trace import RecordedTask, Trace
from tests.made.models import TASK, make_batches


def test_holds_what_every_head_says(model: AdaptiveForSequenceClassification, trace: Trace) -> None:
    batch = make_batches()[1]
    with torch.inference_mode():
        output = model(batch["input_ids"], lengths=batch["lengths"], trace=True)
    rows = batch["example"].numpy()
    np.testing.assert_array_equal(trace.all_logits[rows], output.all_logits.numpy())
    np.testing.assert_array_equal(trace.tokens_kept[rows], output.tokens_kept.numpy())
    np.testing.assert_array_equal(trace.labels[rows], batch["labels"].numpy())
    assert trace.head_depths == (1, 2, 3, 4)


def test_order_of_batches_does_not_matter(model: AdaptiveForSequenceClassification, trace: Trace) -> None:
    shuffled = record_trace(model, make_batches()[::-1], TASK)
    np.testing.assert_array_equal(shuffled.all_logits, trace.all_logits)


def test_model_keeps_its_mode(model: AdaptiveForSequenceClassification) -> None:
    model.train()
    try:
        record_trace(model, make_batches(8), TASK)
        assert model.training
    finally:
        model.eval()


def test_survives_the_disk(trace: Trace, tmp_path: Path) -> None:
    columns = {"difficulty": np.array(["plain", "negated"] * 20), "cue_depth": np.arange(40)}
    written = Trace(
        trace.labels, trace.all_logits, trace.tokens_kept, trace.head_depths, trace.task, {"split": "x"}, columns
    )
    write_trace(written, tmp_path / "trace" / "x.parquet")
    back = read_trace(tmp_path / "trace" / "x.parquet")
    for name in ("labels", "all_logits", "tokens_kept"):
        np.testing.assert_array_equal(getattr(back, name), getattr(written, name))
        assert getattr(back, name).dtype == getattr(written, name).dtype
    assert (back.head_depths, back.task, back.metadata) == (written.head_depths, TASK, {"split": "x"})
    assert back.columns["difficulty"].tolist() == columns["difficulty"].tolist()
    assert back.columns["cue_depth"].tolist() == columns["cue_depth"].tolist()


def test_full_disk_keeps_the_old_file(trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    write_trace(trace, path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eat.traces.storage.pq.write_table", full)
    with pytest.raises(OSError, match="No space left"):
        write_trace(trace, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_nan_logits_are_named(made_trace: Callable[..., Trace]) -> None:
    logits = np.zeros((3, 2, 2))
    logits[1, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 3 examples have NaN .* example 1 at the head of depth 2"):
        made_trace(logits, [0, 1, 0], (2, 4))


@pytest.mark.parametrize(
    ("depths", "message"),
    [((4,), "expected 2 ascending"), ((4, 2), "expected 2 ascending"), ((1, 2), "must be at depth")],
)
def test_heads_must_fit(made_trace: Callable[..., Trace], depths: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made_trace(np.zeros((3, 2, 2)), [0, 1, 0], depths, tokens_kept=np.ones((3, 5), dtype=int))


def test_no_examples(model: AdaptiveForSequenceClassification) -> None:
    with pytest.raises(ValueError, match="at least one example"):
        record_trace(model, [], TASK)


def test_missing_example_is_noticed(model: AdaptiveForSequenceClassification) -> None:
    with pytest.raises(ValueError, match="every example"):
        record_trace(model, make_batches()[1:], TASK)


def test_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no trace at .*evaluate\.py"):
        read_trace(tmp_path / "validation.parquet")


def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "validation.parquet"
    path.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"validation\.parquet is not a readable trace"):
        read_trace(path)


def test_a_recorded_task_is_a_task_without_its_rows() -> None:
    assert isinstance(TASK, TaskFacts) and not isinstance(TASK, Task)
    assert RecordedTask.of(TASK) == TASK
