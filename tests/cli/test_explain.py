"""`eat explain`: the text arrives as it was typed, the page is written, and errors are one line."""

import json
import sys
from pathlib import Path

import pytest

from eat.cli import explain
from eat.runs.explained import explain_run
from tests.made.runs import write_run

TYPED = "it's a \"film\", isn't it? ${oc.env:HOME} \\ {a: b} [1,2] = ünï"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("explain") / "run")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["eat explain", *arguments])
    try:
        explain.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@pytest.mark.parametrize("text", [TYPED, "5", "null", "true", "", " two\nlines "])
def test_the_text_arrives_as_it_was_typed(run, monkeypatch, text):
    seen = []

    def catch(*given, **options):
        seen.append((given, options))
        return explain_run(run, "good film")

    monkeypatch.setattr(explain, "explain_run", catch)
    assert call(monkeypatch, f"run={run}", f"text={text}", f"text_pair={text}") == 0
    assert seen == [((str(run), text), {"text_pair": text, "output": None, "device": "auto"})]


def test_it_prints_and_writes_what_the_function_returns(run, monkeypatch, capsys, tmp_path):
    page = tmp_path / "new" / "page.html"
    assert call(monkeypatch, f"run={run}", "text=the film was not good", f"output={page}") == 0
    expected = explain_run(run, "the film was not good")
    assert capsys.readouterr().out == f"{expected}\n\npage: {page}\n"
    assert page.read_text(encoding="utf-8") == expected.to_html()


def test_a_run_cuts_where_it_was_trained_to(run):
    assert len(explain_run(run, "good " * 100).tokens) == 32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text=x"], "run: expected the folder of a finished run, got none"),
        (["run={run}"], "text: expected a text, got none"),
        (["run=nowhere", "text=x"], "run: no folder nowhere"),
        (["run={run}", "text=x", "output=page.txt"], "output: expected a file whose name ends in .html"),
        (["run={run}", "text=x", "ouput=page.html"], "ouput: no such key of this command (did you mean 'output'?)"),
    ],
)
def test_errors_are_one_line(run, monkeypatch, capsys, arguments, said):
    assert call(monkeypatch, *(argument.format(run=run) for argument in arguments)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


def test_a_run_without_weights_says_so(run, monkeypatch, capsys):
    kept = Path(__file__).parents[2] / "results" / "demo"
    (folder,) = kept.iterdir()
    assert call(monkeypatch, f"run={folder}", "text=x") == 1
    assert "has no model/ (results are kept without weights)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trained", "pair", "said"),
    [
        (1, "bad soup", "text_pair: expected none, got a text: the model was trained on one text at a time"),
        (2, None, "text_pair: expected the second text, got none: the model was trained on pairs of texts"),
    ],
)
def test_a_run_takes_as_many_texts_as_it_was_trained_on(tmp_path, trained, pair, said):
    run = write_run(tmp_path / "run")
    path = run / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_texts": trained}))
    with pytest.raises(ValueError, match=said):
        explain_run(run, "good film", text_pair=pair)
    assert explain_run(run, "good film", text_pair="bad soup" if pair is None else None).tokens
