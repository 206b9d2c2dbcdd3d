"""Reports that cannot stand in one table are named with what is wrong, and the others are combined."""

import shutil
from pathlib import Path

import pytest
import yaml

from eat.evaluation import combine, evaluate_run
from eat.evaluation.between_runs.sound import read_reports


@pytest.fixture
def reported(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("eat.evaluation.between_runs.combined.draw_runs", lambda *_: None)
    return run


@pytest.fixture
def other(reported: Path) -> Path:
    """The same run with another seed, as far as its configuration says."""
    folder = Path(shutil.copytree(reported, reported.with_name("other")))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 1}))
    return folder


def left_out(*folders: Path) -> str:
    kept, problems = read_reports(folders)
    assert len(kept) == 1
    (problem,) = problems
    return problem


def test_seeds_of_one_configuration_become_one_row(reported: Path, other: Path, tmp_path: Path) -> None:
    table = combine([reported, other], tmp_path / "out")
    first, _, line = table.splitlines()[:3]
    assert first.split()[:2] == ["mean", "±"] and line.split()[:2] == ["file", "2"]
    assert " ± 0.0000" in line
    assert [line.split()[0] for line in table.splitlines()[6:8]] == ["small", "other"], "each run stands below"


def test_an_interrupted_write_is_named(reported: Path, other: Path) -> None:
    (other / "report" / "summary.md").unlink()
    assert "is half written, summary.md missing; `python evaluate.py run=" in left_out(reported, other)


def test_a_cut_off_table_is_named(reported: Path, other: Path) -> None:
    path = other / "report" / "frontier.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert "has no row of its own operating point, confidence" in left_out(reported, other)


def test_a_run_that_was_set_aside_is_named(reported: Path, other: Path) -> None:
    aside = other.rename(other.with_name("small.old-1"))
    assert "is superseded, it was set aside when small was trained anew" in left_out(reported, aside)


def test_a_report_of_other_weights_is_named(reported: Path, other: Path) -> None:
    config = (other / "model" / "config.json").read_text()
    (other / "model" / "config.json").write_text(config.replace('"ratio": 0.3', '"ratio": 0.4'))
    assert "is superseded, it was made from other weights" in left_out(reported, other)


def test_a_training_that_began_anew_is_named(reported: Path, other: Path) -> None:
    shutil.rmtree(other / "model")
    shutil.rmtree(other / "trace")
    assert "has neither model/ nor trace/: the training is not finished" in left_out(reported, other)


def test_a_copy_is_taken_once(reported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(reported, tmp_path / "elsewhere" / "small"))
    assert len(read_reports([reported, reported / "report", reported.parent / "." / "small"])[0]) == 1
    assert read_reports([reported, reported / "report"])[1] == [], "one report, named twice"
    assert left_out(reported, copy) == f"left out: {copy}/report says the same as {reported}/report"


def test_the_same_training_with_other_results_is_not_averaged_and_not_chosen(
    reported: Path, other: Path, tmp_path: Path
) -> None:
    conflicting = Path(shutil.copytree(reported, tmp_path / "elsewhere" / "small"))
    path = conflicting / "report" / "frontier.csv"
    header, *rows = path.read_text().splitlines()
    value = header.split(",").index("value")
    changed = [",".join([*row.split(",")[:value], "0.125", *row.split(",")[value + 1 :]]) for row in rows]
    path.write_text("\n".join([header, *changed]) + "\n")
    table = combine([reported, conflicting, other], tmp_path / "out")
    assert "left out: the same training and operating point with different results: " in table
    assert f"{conflicting}/report (accuracy 0.125)" in table
    assert " ± " not in table


def test_two_runs_of_one_name_are_not_taken_for_one(reported: Path, other: Path, tmp_path: Path) -> None:
    namesake = Path(shutil.copytree(other, tmp_path / "elsewhere" / "small"))
    assert f"{namesake} is called as {reported} is, and is another run" in left_out(reported, namesake)


def test_where_nothing_is_left_the_reason_is_raised(reported: Path, tmp_path: Path) -> None:
    (reported / "report" / "summary.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"half written, summary\.md missing"):
        combine([reported], tmp_path / "out")
    evaluate_run(reported, stages=["quality"], device="cpu")
    assert combine([reported], tmp_path / "out")
