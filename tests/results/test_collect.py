"""Runs are read and grouped; each that cannot count is named with its reason, and nothing is merged in silence."""

import json
from pathlib import Path

import pytest

from eat.results.collect import collect
from eat.results.group import group
from tests.results.made import CONFIDENCE, write_logged, write_report


def said(root: Path) -> list[str]:
    runs, problems = collect(root)
    return [str(problem) for problem in [*problems, *group(runs)[1]]]


def test_seeds_of_one_configuration_are_one_experiment(tmp_path: Path) -> None:
    for seed in (1, 0):
        write_logged(tmp_path / f"dense{seed}", seed=seed)
        write_logged(tmp_path / f"taught{seed}", "ablation/distilled", seed=seed,
                     objective={"name": "joint", "teacher": f"/elsewhere/m-seed{seed}-0123456{seed}"})  # fmt: skip
    runs, problems = collect(tmp_path)
    blocks, more = group(runs)
    assert (problems, more) == ([], [])
    ((block, experiments),) = blocks.items()
    assert (block.task, block.budget, block.holdout, block.rows) == ("made_up", "smoke", "mine", "100 rows")
    assert [(e.name, e.seeds) for e in experiments] == [("dense", (0, 1)), ("distilled", (0, 1))]


def test_budgets_and_holdouts_stand_apart(tmp_path: Path) -> None:
    write_logged(tmp_path / "a")
    write_logged(tmp_path / "b", budget={"name": "paper"})
    write_logged(tmp_path / "c", holdout={"name": "none"})
    assert len(group(collect(tmp_path)[0])[0]) == 3


def test_only_the_suites_are_read(tmp_path: Path) -> None:
    for name, experiment in {"a": "ablation/dense", "b": "other/dense", "c": "systems/binarized"}.items():
        write_logged(tmp_path / name, experiment)
    for suites, read in ((["ablation"], "a"), (["systems", "ablation"], "ac"), (["ablation/den"], ""), ([], "abc")):
        assert "".join(run.run.name for run in collect(tmp_path, suites=suites)[0]) == read
    with pytest.raises(FileNotFoundError, match="folder: expected a folder of finished runs"):
        collect(tmp_path / "none")


def test_a_copy_counts_once_and_other_results_under_one_key_not_at_all(tmp_path: Path) -> None:
    write_logged(tmp_path / "a")
    write_logged(tmp_path / "copy")
    assert any("the same run several times; it is counted once" in line for line in said(tmp_path))
    write_logged(tmp_path / "other", noise=2.0)
    runs, _ = collect(tmp_path)
    blocks, problems = group(runs)
    assert blocks == {}
    assert "the same configuration and seed with other results" in str(problems[0])
    assert all(name in str(problems[0]) for name in ("a", "copy", "other"))


def test_a_missing_seed_is_named(tmp_path: Path) -> None:
    for seed in (0, 2):
        write_logged(tmp_path / str(seed), seed=seed)
    assert any("dense" in line and "seed 1 is missing" in line for line in said(tmp_path))


def test_a_backbones_rate_tells_nothing_apart_beside_the_optimizers(tmp_path: Path) -> None:
    write_logged(tmp_path / "before", seed=0, optimizer={"lr": 1e-4})
    write_logged(tmp_path / "after", seed=1, optimizer={"lr": 1e-4}, backbone={"name": "tiny", "lr": 1e-4})
    ((experiment,),) = group(collect(tmp_path)[0])[0].values()
    assert (experiment.name, experiment.seeds) == ("dense", (0, 1))


def test_a_key_that_some_runs_lack_is_named_and_not_merged(tmp_path: Path) -> None:
    write_logged(tmp_path / "a")
    write_logged(tmp_path / "b", seed=1, scheduler={"warmup_ratio": 0.1})
    assert any("lack scheduler.warmup_ratio: they may be of another version" in line for line in said(tmp_path))
    ((_, experiments),) = group(collect(tmp_path)[0])[0].items()
    assert [e.name for e in experiments] == ["dense", "dense, scheduler.warmup_ratio 0.1"]


def test_runs_of_no_experiment_are_named_by_their_settings_and_2_is_2_0(tmp_path: Path) -> None:
    for seed, warmup in enumerate((2, 2.0, 3.0)):
        write_logged(tmp_path / str(seed), None, seed=seed, schedule={"warmup_epochs": warmup})
    ((_, experiments),) = group(collect(tmp_path)[0])[0].items()
    named = {experiment.name: experiment.seeds for experiment in experiments}
    assert named == {"schedule.warmup_epochs 2": (0, 1), "schedule.warmup_epochs 3": (2,)}


def damage_name(run: Path) -> None:
    run.rename(run.with_name("tiny-full-smoke-seed0-00000000"))


def damage_report(run: Path) -> None:
    text = (run / "report" / "frontier.csv").read_text()
    (run / "report" / "frontier.csv").write_text(text.replace(",accuracy,0.", ",accuracy,0.1"))


DAMAGES = [
    (
        lambda run: (run / "superseded.json").write_text(json.dumps({"by": "b", "why": "a bug"})),
        "superseded by b (a bug)",
    ),
    (lambda run: run.rename(run.with_name("a.old-1")), "set aside when the run was started anew"),
    (lambda run: (run / "trace" / "x.parquet.partial").touch(), "an interrupted write left trace/x.parquet.partial"),
    (lambda run: (run / "report" / "frontier.csv").unlink(), "report/frontier.csv is missing; run `python evaluate.py"),
    (lambda run: (run / "trace" / "threshold.parquet").unlink(), "lacks threshold.parquet"),
    (lambda run: (run / "config.yaml").write_text("seed: ["), "is no readable YAML"),
    (lambda run: (run / "report" / "operating_point.json").write_text("{}"), "operating_point.json names no exit"),
    (damage_name, "it is of another version of eat, or was edited"),
    (damage_report, "an evaluation was interrupted"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES, ids=[reason[:30] for _, reason in DAMAGES])
def test_what_cannot_count_is_named_in_a_line(tmp_path: Path, damage, reason: str) -> None:
    write_logged(tmp_path / "a", exit=CONFIDENCE)
    damage(tmp_path / "a")
    runs, problems = collect(tmp_path)
    assert runs == []
    (line,) = map(str, problems)
    assert reason in line
    assert "\n" not in line
    assert line.count(": ") >= 1


def test_traces_of_other_data_are_named(tmp_path: Path) -> None:
    folder = write_logged(tmp_path / "a")
    (folder / "environment.json").write_text(json.dumps({"data": "ffff"}))
    write_report(folder, {"name": "never"})
    assert any("its traces answer other data" in line for line in said(tmp_path))
