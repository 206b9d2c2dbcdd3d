"""A prediction that is killed goes on where it stopped: no row is lost, doubled or answered otherwise."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eat.deployment import predict_file
from eat.deployment.prediction import answering
from eat.deployment.prediction.places import held
from eat.deployment.prediction.settings import PredictSettings
from tests.deployment.predictions import make_run, make_texts, one_line, write_rows

ROOT = Path(__file__).parents[2]
SETTINGS = {"window": 10, "batch_size": 4, "cache": 5, "keep": ["id"], "progress": False}
# Children of one process, which has imported and loaded everything, are killed before the nth thing done to a file.
KILLED = """
import os, random, signal, sys
from tests.reliability import quiet
quiet.prepare()
from eat.deployment.prediction import run
from eat.deployment.prediction.settings import PredictSettings
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
model, source, folder, settings = *sys.argv[1:4], PredictSettings(**eval(sys.argv[4]))
engine = run.load_engine(model, settings)
run.load_engine = lambda *_: engine

def predict(target, deadline):
    left = [deadline]
    def count(event, arguments):
        if event in EVENTS and str(arguments[0]).startswith(target):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    run.predict_file(model, source, target, settings)

def child(target, deadline):
    if not (pid := os.fork()):
        code = 1
        try:
            predict(target, deadline)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

for seed in range(9):
    draw, kills = random.Random(seed), 0
    target = f"{folder}/{seed}.{['csv', 'jsonl', 'parquet'][seed % 3]}"
    while (code := child(target, draw.randint(1, 40))) == -signal.SIGKILL:
        kills += 1
    print(code, kills, target)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    texts = make_texts(45)
    return write_rows(tmp_path / "in.jsonl", [{"id": i, "text": texts[i * i % 45]} for i in range(95)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_killed_prediction_ends_with_the_same_bytes(run: Path, source: Path, tmp_path: Path) -> None:
    unkilled = {suffix: tmp_path / f"unkilled{suffix}" for suffix in (".csv", ".jsonl", ".parquet")}
    for target in unkilled.values():
        predict_file(run, source, target, PredictSettings(**SETTINGS))
    (tmp_path / "killed").mkdir()
    command = [sys.executable, "-c", KILLED, str(run), str(source), str(tmp_path / "killed"), repr(SETTINGS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert len(rows) == 9 and sum(int(kills) for _, kills, _ in rows) > 20
    for code, _, name in rows:
        assert code == "0" and Path(name).read_bytes() == unkilled[Path(name).suffix].read_bytes()
    assert len([*(tmp_path / "killed").iterdir()]) == 9, "neither parts nor locks are left"


class Stopped(Exception):  # noqa: N818  no error
    """A stop in the middle."""


def begin(run: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, windows: int = 3) -> Path:
    """Predict so many windows, and stop in the next; return the folder of the parts."""
    window, count = answering.Answering.window, [0]

    def counted(self: Any, rows: Any) -> Any:
        count[0] += 1
        if count[0] > windows:
            raise Stopped
        return window(self, rows)

    monkeypatch.setattr(answering.Answering, "window", counted)
    with pytest.raises(Stopped):
        predict_file(run, source, target, PredictSettings(**SETTINGS))
    monkeypatch.setattr(answering.Answering, "window", window)
    assert not target.exists()
    return target.with_name(f"{target.name}.parts")


def test_what_is_written_is_not_answered_again(
    run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = begin(run, source, target := tmp_path / "out.csv", monkeypatch)
    assert sorted(path.name for path in parts.iterdir()) == [
        "journal.jsonl",
        *(f"part-00000{number}" for number in range(3)),
        "state-000002.json",
    ]
    with (parts / "journal.jsonl").open("a") as journal:
        journal.write('[12, "torn')  # as a process leaves it that dies while it writes
    answered: list[int] = []
    window = answering.Answering.window

    def noted(self: Any, rows: Any) -> Any:
        answered.append(len(rows))
        return window(self, rows)

    monkeypatch.setattr(answering.Answering, "window", noted)
    summary = predict_file(run, source, target, PredictSettings(**SETTINGS))
    assert answered == [10] * 6 + [5] and summary.tally.rows == 95 and not parts.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 8}, r"batch_size: .*parts was begun with 4, got 8; .*fresh=true"),
        ({"exit": {"threshold": 0.9}}, r"exit: .*was begun with .*0.7243.*, got .*0.9"),
        ({"keep": []}, r"keep: .*was begun with \['id'\], got \[\]"),
        ({"output_format": "jsonl"}, r"output: .*was begun with 'csv', got 'jsonl'"),
    ],
)
def test_other_settings_do_not_go_on(
    run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    begin(run, source, target := tmp_path / "out.csv", monkeypatch, windows=1)
    with one_line(message):
        predict_file(run, source, target, PredictSettings(**SETTINGS | settings))
    predict_file(run, source, target, PredictSettings(**SETTINGS | settings | {"fresh": True}))
    assert target.is_file()


def test_another_input_or_model_does_not_go_on(
    run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = begin(run, source, target := tmp_path / "out.csv", monkeypatch)
    text = source.read_text()
    first = text.splitlines(keepends=True)[0]
    for changed, message in (
        (text + "\n", r"input: .*was begun with '\d+ bytes', got '\d+ bytes'"),
        (text.replace("film 0", "film 9", 1), r"input: the rows from .*line 1 on are not those that were answered"),
        (first + " " * (len(text) - len(first)), r"input: the rows from"),
    ):
        source.write_text(changed)
        with one_line(message):
            predict_file(run, source, target, PredictSettings(**SETTINGS))
    source.write_text(text)
    other = make_run(tmp_path / "other", pruner={"name": "none"})
    with one_line(r"model: .*was begun with"):
        predict_file(other, source, target, PredictSettings(**SETTINGS))
    next(parts.glob("part-*")).write_text("")
    with one_line(r"output: .*parts is damaged .*fresh=true starts anew"):
        predict_file(run, source, target, PredictSettings(**SETTINGS))


@pytest.mark.parametrize("journal", [b"", b"[]\n", b"\xff\n", b"{}\n7\n", b'{}\n[1, "x", {}, false]\n'])
def test_a_damaged_journal_is_refused(
    journal: bytes, run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = begin(run, source, target := tmp_path / "out.csv", monkeypatch)
    (parts / "journal.jsonl").write_bytes(journal)
    with one_line(r"output: .*parts is damaged .*fresh=true starts anew"):
        predict_file(run, source, target, PredictSettings(**SETTINGS))


def test_an_output_is_held_by_one_process_and_replaced_only_when_told(run: Path, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with held(target), one_line(r"output: another process writes .*out\.csv; wait for it or stop it"):
        predict_file(run, source, target, PredictSettings(**SETTINGS))
    predict_file(run, source, target, PredictSettings(**SETTINGS))
    before = target.stat().st_mtime_ns
    with one_line(r"output: .*out\.csv is there already; fresh=true replaces it"):
        predict_file(run, source, target, PredictSettings(**SETTINGS))
    assert target.stat().st_mtime_ns == before
    predict_file(run, source, target, PredictSettings(**SETTINGS, fresh=True))
    assert target.stat().st_mtime_ns > before


def test_what_others_keep_among_the_parts_stays(run: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv.parts").mkdir()
    (tmp_path / "out.csv.parts" / "mine.txt").write_text("mine")
    predict_file(run, source, tmp_path / "out.csv", PredictSettings(**SETTINGS, fresh=True))
    assert [path.name for path in (tmp_path / "out.csv.parts").iterdir()] == ["mine.txt"]


def test_truncation_must_not_be_refused_behind_texts_that_were_cut(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": i, "text": "good " * (200 if i == 3 else 2)} for i in range(40)]
    source = write_rows(tmp_path / "long.jsonl", rows)
    begin(run, source, target := tmp_path / "out.csv", monkeypatch, windows=1)
    with one_line(r"truncate: 1 texts from .*line 1 on were cut"):
        predict_file(run, source, target, PredictSettings(**SETTINGS, truncate=False))
    assert json.loads((tmp_path / "out.csv.parts" / "journal.jsonl").read_text().splitlines()[1])[2]["cut"] == 1
