"""The notebooks are stored without output and run from the top: on committed results, and on tiny runs of their own."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from tests.made.runs import write_run

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = ["data.train_examples=64", "data.threshold_examples=32", "data.certification_examples=32"]
SMALL += ["budget.epochs=1", "budget.max_steps=2", "+task.train_rows=400", "+task.validation_rows=40"]


def cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def run(name: str, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> dict[str, Any]:
    """Run a notebook's cells as they stand, with other values behind those of the cell that is tagged parameters."""
    monkeypatch.chdir(ROOT)
    mpl.use("agg")
    names: dict[str, Any] = {}
    for cell in cells(ROOT / "notebooks" / f"{name}.ipynb"):
        exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names.update(parameters)
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_output(path: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path))


def test_a_committed_table_is_reproduced(monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("reproduce_a_table", monkeypatch)
    assert len(names["again"]) > 10 and max(names["differences"].values()) < 1e-5
    assert plt.get_fignums()
    plt.close("all")


def test_the_committed_certificate_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("frontier_and_certificate", monkeypatch)
    committed = json.loads((names["run_folder"] / "report" / "certificate.json").read_text(encoding="utf-8"))
    assert names["certificate"].exit.spec == committed["certificate"]["exit"]
    assert "certified" in [text.get_text() for text in names["axes"].get_legend().get_texts()]
    plt.close("all")


def test_a_sentence_is_explained_with_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    run("one_sentence", monkeypatch, run=write_run(tmp_path / "run"))
    said = capsys.readouterr().out
    assert said.count("operating point: confidence") == 3 and "threshold 0.999: " in said


def test_a_sentence_is_explained_with_a_model_trained_on_the_spot(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["experiment=demo", "trainer=cpu", "logger=none", "backbone.num_layers=3", "backbone.vocab_size=200"]
    settings += ["head_depths=[1,2]", "pruner.depths=[1,2]", *SMALL]
    names = run("one_sentence", monkeypatch, settings=settings)
    assert names["model"].num_layers == 3 and set(names["kept"]) == {1, 2}
