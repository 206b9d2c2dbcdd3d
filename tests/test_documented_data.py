"""The page about a user's own data: every command on it runs, on files that begin as shown; every option is there."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eat.cli import evaluate, settings, train
from eat.tasks import build_task

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S))
COMMANDS = re.findall(r"^eat train (.*)$", PAGE, re.M)
(MOVED,) = re.findall(r"^eat evaluate (.*)$", PAGE, re.M)
OPTIONS = yaml.safe_load((ROOT / "conf" / "task" / "file.yaml").read_text(encoding="utf-8"))["data"]
SMALL = [
    "backbone=tiny", "backbone.dim=16", "backbone.num_layers=3", "backbone.intermediate_size=32", "head_depths=[2]",
    "backbone.vocab_size=200", "pruner.depths=[1]", "budget=smoke", "trainer=cpu", "data.threshold_examples=20",
    "data.certification_examples=20", "evaluation.stages=[]", "data.cache_dir=cache",
]  # fmt: skip


def longer(name: str, shown: str, copies: int = 60) -> str:
    """Return the file with its rows repeated, some of their words numbered, so that no two texts are equal."""
    if name.endswith(".json"):
        rows = [json.dumps(row) for row in json.loads(shown)]
        return f"[{','.join(longer('x.jsonl', chr(10).join(rows), copies).split(chr(10))[:-1])}]"
    head, rows = ("", shown) if name.endswith(".jsonl") else shown.split("\n", 1)
    words = r"\b(funny|plot|wonder|hours|sleeps|rests|runs|gripping|failed|fine|said|w1|w2)\b"
    return "\n".join(
        [*([head] if head else []), *(re.sub(words, rf"\g<1>{i}", rows.strip()) for i in range(copies)), ""]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files of the page, and the Parquet file."""
    folder = tmp_path_factory.mktemp("data")
    for name, shown in FILES.items():
        (folder / name).write_text(longer(name, shown), encoding="utf-8")
    rows = [json.loads(line) for line in (folder / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        yield folder


def call(command, name, arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"eat {name}", *arguments])
    return command.main()


def test_every_option_is_in_a_command_and_in_the_table():
    typed = {argument.partition("=")[0] for command in COMMANDS for argument in shlex.split(command)}
    table = set(re.findall(r"`(data\.\w+)`", PAGE[PAGE.index("## All options") :]))
    options = {f"data.{name}" for name in OPTIONS}
    assert options == table and options <= typed


def test_help_says_what_every_option_means():
    said = " ".join(settings.commented("task=file data.", "task/file.yaml", "data"))
    assert [name for name in OPTIONS if not re.search(rf"task=file data\.{name} \([^)]+\): [A-Z]", said)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_train(command, place, monkeypatch):
    before = set(place.glob("runs/file/*"))
    call(train, "train", [*shlex.split(command), *SMALL], monkeypatch)
    (run,) = set(place.glob("runs/file/*")) - before
    assert (run / "model" / "model.safetensors").is_file()
    saved = yaml.safe_load((run / "config.yaml").read_text())["task"]
    task = build_task(saved)
    texts = task.load()["train"]["text"][:]
    several = saved["label"] if isinstance(saved["label"], list) else None
    named = saved["label_names"] or several or ["two", "classes"]
    assert task.num_labels == (1 if saved["kind"] == "regression" else len(named))
    assert set(named) <= set(task.label_names) or saved["label_names"] is None
    assert all((": " in text) == (saved["separator"] == ": ") for text in texts)
    assert any(text.startswith('"') for text in texts) == (not saved["quotes"])
    assert any(";" in text for text in texts) == (saved["delimiter"] is not None)


def test_files_that_have_moved_are_named_to_the_evaluation(place, monkeypatch):
    (command,) = (command for command in COMMANDS if "data.test" in command)
    call(train, "train", [*shlex.split(command), *SMALL, "seed=1"], monkeypatch)
    (run,) = place.glob("runs/file/*-seed1-*")
    shutil.copytree(place, place / "elsewhere", ignore=lambda *_: ["runs", "cache"])
    for name in ("reviews.csv", "dev.jsonl", "test.parquet"):
        (place / name).rename(place / f"moved-{name}")
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)  # figures, which take seconds
    overrides = MOVED.replace("runs/file/...", str(run.relative_to(place))).split()
    call(evaluate, "evaluate", [*overrides, "stages=[quality]", "data.cache_dir=cache"], monkeypatch)
    summary = (run / "report" / "summary.md").read_text()
    assert "- validation: 120 examples" in summary and "- test: 120 examples" in summary
