"""Check a task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from eat.data.splits import carve
from eat.tasks import KINDS, Task, build_task
from eat.tasks.leakage import SAME_TEXT
from eat.tasks.metrics import METRICS
from eat.tasks.units import pair_key, row_texts
from eat.testing.checked import Checked
from eat.testing.subject import Arguments

MOST_ROWS = 5000
ROW = "row of train"


def check_task(
    task: Any,
    arguments: Arguments | None = None,
    *,
    root: str | Path | None = None,
    cache_dir: str | Path | None = None,
    shared_rows: int = 0,
    seed: int = 0,
) -> Checked:
    """Check that a task keeps what every task promises.

    These are: the same rows twice; ``train`` and a reported split at least; texts that are strings, labels in range and
    of the type that goes with ``kind``; metrics that are known; no row of a reported split in train; held-out splits
    that its leakage rule keeps apart from train and from each other, the same for rows in any order.

    Args:
        task: The task; its class or function, with ``arguments``; or a name that the family knows.
        arguments: Of the constructor.
        root: Folder of local data sets, as ``load`` takes it.
        cache_dir: Where ``datasets`` keeps its files, as ``load`` takes it.
        shared_rows: So many rows of a reported split may stand in train too, where an official set is made so.
        seed: Of the held-out draw, over the first 5,000 rows of train.

    Returns:
        What was checked.

    Raises:
        CheckFailedError: With what was checked, what was expected, and what came.
    """
    if isinstance(task, Mapping | str):
        spec: dict[str, Any] = {"name": task} if isinstance(task, str) else dict(task)
        task = partial(build_task, spec | dict(arguments or {}))
    elif inspect.isclass(task) or inspect.isroutine(task):
        task = partial(task, **dict(arguments or {}))
    make = task if isinstance(task, partial) else lambda: task
    built = make()
    checked = Checked(f"check_task({getattr(built, 'name', type(built).__name__)})")
    checked.expect(isinstance(built, Task), "it has what eat.tasks.Task asks for", "all of it", _missing(built))
    _check_facts(checked, built)
    splits = built.load(root=root, cache_dir=cache_dir)
    names = list(splits)
    checked.expect(names[:1] == ["train"] and len(names) > 1, "train is loaded, and a reported split", "both", names)
    again = make().load(root=root, cache_dir=cache_dir)
    checked.same(
        {k: v.to_dict() for k, v in again.items()}, {k: v.to_dict() for k, v in splits.items()}, "it loads alike"
    )
    for name, rows in splits.items():
        _check_rows(checked, built, name, rows)
    trained_on = {pair_key(texts) for texts in row_texts(splits["train"])}
    for name in names[1:]:
        shared = sum(pair_key(texts) in trained_on for texts in row_texts(splits[name]))
        fact = f"no row of the reported splits stands in train, {shared_rows} aside"
        checked.expect(shared <= shared_rows, fact, f"at most {shared_rows} rows of {name!r}", shared)
    train = splits["train"]
    _check_held_out(checked, built, train.select(range(min(len(train), MOST_ROWS))), seed)
    return checked


def _missing(task: Any) -> str:
    names = [
        name for name in (*Task.__annotations__, *vars(Task), "name", "kind", "metrics") if not name.startswith("_")
    ]
    return f"no {[name for name in names if not hasattr(task, name)]}"


def _check_facts(checked: Checked, task: Task) -> None:
    checked.expect(task.kind in KINDS, "kind is known", f"one of {KINDS}", task.kind)
    names, classes = task.label_names, task.kind != "regression"
    fact = "there are a name and an output for each class or label, one output and no names for a regression"
    checked.expect(len(set(names)) == len(names) and (len(names) > 1) == classes, fact, "distinct names", names)
    checked.same(task.num_labels, max(1, len(names)), fact)
    known = set(task.metrics) <= set(METRICS) and len(task.metrics) > 0
    checked.expect(known, "metrics are known", f"some of {sorted(METRICS)}", task.metrics)
    fields = task.text_fields in (("text",), ("text", "text_pair"))
    checked.expect(fields, "text columns are called as everywhere", "('text',) or with 'text_pair'", task.text_fields)
    both = len(task.source_columns) == len(task.text_fields)
    checked.expect(both, "source_columns names each text column", task.text_fields, task.source_columns)


def _check_rows(checked: Checked, task: Task, split: str, rows: Dataset) -> None:
    checked.expect(len(rows) > 0, "every split has rows", "1 or more", f"{len(rows)} in {split!r}")
    wanted = {*task.text_fields, task.label_field}
    checked.expect(wanted <= set(rows.column_names), "every split has texts and label", wanted, rows.column_names)
    for field in task.text_fields:
        odd = [text for text in rows[field][:] if not isinstance(text, str)]
        checked.expect(not odd, "texts are strings", "str", f"{odd[:1]} in {split!r}")
    labels = np.asarray(rows[task.label_field][:])
    kind = "int64" if task.kind == "classification" else "float32"
    feature = rows.features[task.label_field]
    dtype = (feature.feature if task.kind == "multi_label" else feature).dtype
    checked.same(dtype, kind, f"labels of a {task.kind} are {kind}")
    fits = np.isfinite(labels).all()
    if task.kind == "classification":
        fits &= bool(((labels >= 0) & (labels < task.num_labels)).all())
    if task.kind == "multi_label":
        fits &= bool(labels.shape == (len(rows), task.num_labels) and ((labels == 0) | (labels == 1)).all())
    fact = "labels are in range"
    checked.expect(
        bool(fits),
        fact,
        f"[0, {task.num_labels}), 0 or 1 for each, or finite",
        f"{labels.min()}..{labels.max()} in {split!r}",
    )


def _check_held_out(checked: Checked, task: Task, train: Dataset, seed: int) -> None:
    """Expect that no unit of the task's leakage rule, and no text, stands on two sides of a held-out split."""
    rule = task.group_by or SAME_TEXT
    numbered = train.add_column(ROW, list(range(len(train))))
    carved = carve(task, numbered, seed=seed)
    sides = {row: side for side, rows in carved._asdict().items() for row in rows[ROW][:]}
    checked.same(len(sides), sum(map(len, carved)), "held-out splits share no row")
    units = rule.units(train)
    for unit in units:
        found = {sides[row] for row in unit.rows if row in sides}
        checked.expect(len(found) <= 1, "rows that belong together stand on one side", "one split", (unit.key, found))
    held_out = [unit for unit in units if any(sides.get(row, "train") != "train" for row in unit.rows)]
    leaking = {row for row in rule.leaving_with(held_out, train) if sides.get(row) == "train"}
    checked.expect(not leaking, "what leaves with held-out rows is not trained on", "no row", leaking)
    texts = {side: {pair_key(row) for row in row_texts(rows)} for side, rows in carved._asdict().items()}
    for one, other in (("train", "threshold"), ("train", "certification"), ("threshold", "certification")):
        shared = texts[one] & texts[other]
        checked.expect(not shared, "held-out texts are nowhere else", f"none of {one} in {other}", sorted(shared)[:3])
    labels = list(map(str, train[task.label_field][:]))
    if any(len({labels[row] for row in unit.rows}) > 1 for unit in units):
        checked.left_out.append("the same draw for rows in any order: rows of several labels belong together")
        return
    moved = carve(task, numbered.select(np.random.default_rng(seed).permutation(len(train))), seed=seed)
    for side, rows in moved._asdict().items():
        drawn = {pair_key(row) for row in row_texts(rows)}
        checked.same(drawn, texts[side], "the same texts are held out for rows in any order")
