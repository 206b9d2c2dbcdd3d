"""A trace holds what the model said, survives the disk unchanged and refuses what is broken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


Damage = Callable[[pa.Table], pa.Table]


def column(name: str, values: Callable[[np.ndarray], Any]) -> Damage:
    """Replace a column by what is made of its values."""
    return lambda table: table.set_column(
        table.column_names.index(name), name, pa.array(values(np.array(table[name].to_pylist())))
    )


def lists(name: str, values: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Replace a column of fixed-size lists."""
    return column(
        name, lambda rows: pa.FixedSizeListArray.from_arrays(pa.array(values(rows).ravel()), values(rows).shape[1])
    )


def facts(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Change what the file says of itself."""

    def changed(table: pa.Table) -> pa.Table:
        known = json.loads(table.schema.metadata[b"eat"])
        change(known)
        return table.replace_schema_metadata({b"eat": json.dumps(known).encode()})

    return changed


def three_classes(table: pa.Table) -> pa.Table:
    for depth in (1, 2, 3, 4):
        table = lists(f"logits_{depth}", lambda rows: np.hstack([rows, rows[:, :1]]))(table)
    return table


DAMAGES: list[tuple[Damage, str]] = [
    (
        column("label", lambda it: [2, *it[1:]]),
        r"column 'label': expected classes from 0 to 1; 1 of 40 .* 1 with 2",
    ),
    (
        column("label", lambda it: [*it[:3], -1, *it[4:]]),
        r"'label': expected classes from 0 to 1; .* row 4 with -1",
    ),
    (column("label", lambda it: it + 0.5), r"column 'label': expected whole numbers, got float64"),
    (column("label", lambda it: it[:, None].tolist()), r"column 'label': expected numbers, got list<"),
    (column("label", lambda it: it.astype(str)), r"column 'label': expected numbers, got string"),
    (column("label", lambda it: [None, *it[1:]]), r"column 'label': 1 rows hold nothing \(null\)"),
    (column("label", lambda it: it % 1 + np.nan), r"column 'label': expected whole numbers, got float64"),
    *(
        (lambda table, name=name: table.drop_columns([name]), rf"column '{name}': expected once, 0 stand there")
        for name in ("label", "length", "logits_2", "tokens_kept", "example")
    ),
    (lambda table: table.append_column("label", table["label"]), r"column 'label': expected once, 2 stand there"),
    (lists("logits_2", lambda it: it * np.nan), r"40 of 40 examples have NaN .* example 0 at the head of depth 2"),
    (three_classes, r"columns 'logits_\*': expected 2 values per row, as its task has, got 3"),
    (
        column("logits_2", lambda it: it.tolist()),
        r"'logits_2': expected lists of floats of one size, got list<",
    ),
    (
        column("logits_2", lambda it: pa.array([[None, 1.0], *it[1:].tolist()], pa.list_(pa.float64(), 2))),
        r"column 'logits_2': 1 numbers are null",
    ),
    (
        lists("tokens_kept", lambda it: it[:, ::-1]),
        r"column 'tokens_kept': expected counts that never grow",
    ),
    (lists("tokens_kept", lambda it: it / 1), r"column 'tokens_kept': expected lists of whole numbers of one size"),
    (column("length", lambda it: it + 1), r"column 'length': expected the first of 'tokens_kept'; 40 of 40 rows"),
    (lambda table: table.take([1, 0, *range(2, 40)]), r"column 'example': expected each .*; 2 of 40 .* row 1 with 1"),
    (
        lambda table: pa.concat_tables([table, table[:1]]),
        r"column 'example': expected each .*; 1 of 41 .* row 41",
    ),
    (lambda table: table[1:], r"column 'example': expected each number once and in order; 39 of 39 .* row 1 with 1"),
    (lambda table: table[:0], r"at least one example"),
    (lambda table: table.append_column("more", pa.array([[1]] * 40)), r"column 'more': expected one value per example"),
    (lambda table: table.replace_schema_metadata(None), r"its metadata have no 'eat': it was not written as a trace"),
    (lambda table: table.replace_schema_metadata({b"eat": b"{"}), r"Expecting property name"),
    (
        facts(lambda it: it["head_depths"].remove(2)),
        r"column 'logits_2': expected one value per example, got fix",
    ),
    (facts(lambda it: it["head_depths"].append(5)), r"column 'logits_5': expected once, 0 stand there"),
    (facts(lambda it: it.update(head_depths=["1"])), r"expected the depths of its heads as whole numbers, got \['1'\]"),
    (facts(lambda it: it.pop("task")), r"KeyError\('task'\)"),
    (
        facts(lambda it: it["task"].update(kind="ranking")),
        r"task.kind: expected one of .*'multi_label'.*, got 'ranking'",
    ),
    (facts(lambda it: it["task"].update(metrics=["fame"])), r"task: expected some of the metrics .*, got \['fame'\]"),
    (facts(lambda it: it["task"].update(label_names=["a"])), r"columns 'logits_\*': expected 1 values per row"),
    (facts(lambda it: it.update(temperatures=[1.0])), r"expected one temperature above 0 per head, got \[1\.0\]"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_named_with_file_and_column(damage: Damage, message: str, trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "validation.parquet"
    write_trace(trace, path)
    pq.write_table(damage(pq.read_table(path)), path)
    with pytest.raises(ValueError, match=rf"^.*/validation\.parquet is not a readable trace \(.*{message}") as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)


def test_a_recorded_task_is_a_task_without_its_rows() -> None:
    assert isinstance(TASK, TaskFacts) and not isinstance(TASK, Task)
    assert RecordedTask.of(TASK) == TASK
