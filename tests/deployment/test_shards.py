"""A folder of shards is answered row for row as its files are, whichever dies or fails in between."""

import dataclasses
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eat.deployment import PredictSettings, predict_file, predict_shards
from eat.deployment.prediction.run import Summary
from eat.deployment.prediction.shards import FILE, Answered, Shard, _with_ray
from eat.deployment.prediction.tally import Tally
from tests.deployment.predictions import make_texts, read_rows, write_rows

TEXTS = make_texts(60)
SETTINGS = PredictSettings(cluster="ray", keep=["id"], window=10, threads=1)


def here(answer: Callable[[Shard], Summary], shards: Sequence[Shard]) -> Iterator[Answered]:
    """Answer shards one by one, the last first, as a cluster ends them in no order."""
    for shard in reversed(shards):
        try:
            yield shard, answer(shard)
        except ValueError as error:
            yield shard, error


def never(*_: Any) -> Iterator[Answered]:
    raise AssertionError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [{"id": i, "text": text} for i, text in enumerate(TEXTS)]
    write_rows(folder / "b.parquet", rows[25:50])
    write_rows(folder / "a.parquet", rows[:25])
    write_rows(folder / "c.jsonl", rows[50:])
    (folder / ".hidden").write_text("not a shard")
    return folder


def expected(run: Path, source: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of each file alone, one after the other."""
    alone = dataclasses.replace(SETTINGS, cluster=None, progress=False)
    rows = []
    for path in sorted(source.glob("[abc].*")):
        predict_file(run, path, folder / f"alone-{path.stem}.parquet", alone)
        rows += read_rows(folder / f"alone-{path.stem}.parquet")
    return rows


def answered(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in read_rows(path)]


def test_rows_are_those_of_each_file_alone(run: Path, source: Path, tmp_path: Path) -> None:
    summary = predict_shards(run, source, tmp_path / "out", SETTINGS, here)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.parquet", "b.parquet", "c.parquet", FILE]
    rows = answered(tmp_path / "out")
    assert rows == expected(run, source, tmp_path)
    assert [int(row["id"]) for row in rows] == list(range(60))
    assert (summary.tally.rows, summary.tally.unreadable, summary.drifted) == (60, 0, None)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_ray_gives_the_same_rows(run: Path, source: Path, tmp_path: Path) -> None:
    import ray

    try:
        summary = predict_shards(run, source, tmp_path / "out", SETTINGS)
        assert answered(tmp_path / "out") == expected(run, source, tmp_path)
        assert summary.tally.rows == 60
        write_rows(source / "d.csv", [{"id": 60, "body": "no text column"}])
        with pytest.raises(RuntimeError, match=r"^input: 1 of 1 shards failed, d\.csv with: text: .*'text'"):
            predict_shards(run, source, tmp_path / "out", SETTINGS)
    finally:
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_ray_goes_on_where_a_worker_dies(tmp_path: Path) -> None:
    import ray

    shards = [Shard(tmp_path / name, tmp_path / f"{name}.out", False) for name in ("fine", "once", "always")]

    def answer(shard: Shard) -> Summary:
        first = not shard.output.exists()
        shard.output.touch()
        if shard.input.name == "always" or (shard.input.name == "once" and first):
            os._exit(1)
        return Summary(Tally(rows=1), [], None)

    try:
        results = {shard.input.name: result for shard, result in _with_ray(SETTINGS)(answer, shards)}
    finally:
        ray.shutdown()
    assert results["fine"] == results["once"] == Summary(Tally(rows=1), [], None)
    assert str(results["always"]) == "4 workers that took it died; Ray's log says of what"


def test_the_same_call_goes_on_with_what_is_missing(run: Path, source: Path, tmp_path: Path) -> None:
    folder, asked = tmp_path / "out", []

    def dies(answer: Callable[[Shard], Summary], shards: Sequence[Shard]) -> Iterator[Answered]:
        for shard, result in here(answer, shards):
            asked.append(shard.input.name)
            if len(asked) == 2:  # answered, but its process dies before that is noted
                raise KeyboardInterrupt
            yield shard, result

    with pytest.raises(KeyboardInterrupt):
        predict_shards(run, source, folder, SETTINGS, dies)
    assert [*json.loads((folder / FILE).read_text())["shards"]] == ["c.jsonl"]

    def rest(answer: Callable[[Shard], Summary], shards: Sequence[Shard]) -> Iterator[Answered]:
        asked.extend(f"again {shard.input.name}" for shard in shards)
        yield from here(answer, shards)

    summary = predict_shards(run, source, folder, SETTINGS, rest)
    assert asked == ["c.jsonl", "b.parquet", "again a.parquet", "again b.parquet"]
    assert answered(folder) == expected(run, source, tmp_path)
    assert summary.tally.rows == 60  # of all shards, also those of the call before
    assert predict_shards(run, source, folder, SETTINGS, never).tally == summary.tally


def test_one_that_fails_leaves_the_others_answered(run: Path, source: Path, tmp_path: Path) -> None:
    write_rows(source / "a2.csv", [{"id": 1, "body": "no text column"}])
    with pytest.raises(RuntimeError, match=r"^input: 1 of 4 shards failed, a2\.csv with: text: .*; the same command"):
        predict_shards(run, source, tmp_path / "out", SETTINGS, here)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == ["a.parquet", "b.parquet", "c.parquet"]
    write_rows(source / "a2.csv", [{"id": 1, "text": "mended"}])
    assert predict_shards(run, source, tmp_path / "out", SETTINGS, here).tally.rows == 61


def test_another_setting_model_or_shard_is_refused(run: Path, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    predict_shards(run, source, folder, SETTINGS, here)
    other = dataclasses.replace(SETTINGS, exit={"threshold": 0.9})
    with pytest.raises(ValueError, match=r"^exit: .*was begun with .*fresh=true$"):
        predict_shards(run, source, folder, other, never)
    write_rows(source / "c.jsonl", [{"id": 9, "text": "another"}])
    with pytest.raises(ValueError, match=r"^input: c\.jsonl is not what it was when it was answered; fresh=true"):
        predict_shards(run, source, folder, SETTINGS, never)
    fresh = dataclasses.replace(other, fresh=True)
    assert predict_shards(run, source, folder, fresh, here).tally.rows == 51


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        ([], "expected facts and shards"),
        ({"a.csv": 3}, "expected size and tally of a shard, got 3"),
        ({"a.csv": {"size": 1, "tally": {}}}, "expected counts of .*, got {}"),
    ],
)
def test_a_damaged_list_is_refused(run: Path, source: Path, tmp_path: Path, shards: Any, said: str) -> None:
    (tmp_path / "shards.json").write_text(json.dumps({"facts": {}, "shards": shards}))
    with pytest.raises(ValueError, match=rf"^output: .*shards.json is damaged \({said}.*\); fresh=true starts anew$"):
        predict_shards(run, source, tmp_path, SETTINGS, never)


def test_folders_that_cannot_be_answered_are_refused(run: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(kind: type[Exception], said: str, folder: Path = source, **settings: Any) -> None:
        with pytest.raises(kind, match=said):
            predict_shards(run, folder, out, dataclasses.replace(SETTINGS, **settings), never)

    refused(
        FileNotFoundError,
        r"^input: expected a folder of shards with a cluster, .*a\.parquet is none",
        source / "a.parquet",
    )
    refused(ValueError, r"^guard: expected false with a cluster", guard=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(ValueError, r"^input: expected a folder of shards, .*empty is empty", empty)
    (source / "notes.docx").write_text("")
    refused(ValueError, r"^input: expected files ending in \.csv, .* got 'notes\.docx'")
    (source / "notes.docx").rename(source / "a.csv")
    refused(ValueError, r"^input: a\.csv and a\.parquet would both be answered in a\.parquet; rename one")
    assert not out.exists()
    with pytest.raises(ValueError, match=r"^output: expected another folder than the input"):
        predict_shards(run, source, source, SETTINGS, never)
    with pytest.raises(ValueError, match=r"^cluster: expected none for a file"):
        predict_file(run, source / "b.parquet", out / "b.parquet", SETTINGS)
    with pytest.raises(ValueError, match=r"^cluster: expected one of \['ray'\], got 'dask'"):
        PredictSettings(cluster="dask")
