"""An ablation's tables say what was measured, over which seeds, against which dense run, and chosen on which split."""

import csv
import dataclasses
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

from eat.results.ablation import AblationSettings, BlockTable, csv_rows, write_ablation
from eat.results.collect import collect
from eat.results.group import group
from eat.results.latex import escape, latex_table
from eat.results.lines import make_lines
from eat.results.pages import check_manifests
from eat.results.published import published_latex, published_section
from eat.traces.statistics import paired_difference_interval, seeds_difference_interval
from tests.results.made import CONFIDENCE, write_logged


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three experiments of two seeds, one of them timed."""
    for seed in (0, 1):
        write_logged(tmp_path / "made_up" / f"dense{seed}", seed=seed, timed=2.0 + seed)
        write_logged(tmp_path / "made_up" / f"eat{seed}", "ablation/eat", seed=seed, noise=0.5, exit=CONFIDENCE)
    write_logged(tmp_path / "made_up" / "static", "ablation/static_2", noise=1.5)
    return tmp_path


def test_lines_are_means_over_seeds_beside_dense(results: Path) -> None:
    ((_, experiments),) = group(collect(results)[0])[0].items()
    (dense, static, eat), problems = make_lines(experiments, "dense", None)
    assert [line.experiment.name for line in (dense, static, eat)] == ["dense", "static_2", "eat"]
    values = [next(iter(run.own_point.metrics.values())) for run in eat.experiment.runs]
    assert eat.value == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    assert eat.delta.points == pytest.approx(100 * (np.mean(values) - dense.value[0]))
    assert eat.delta.low < eat.delta.points < eat.delta.high
    assert dense.delta is None
    assert dense.flops_ratio == 1.0
    assert dense.speedups() == {(1, 1): 2.5}
    assert static.delta.p_value is not None
    assert eat.delta.p_value is None
    assert eat.flops_ratio < 1
    assert problems == []


@pytest.mark.parametrize("ratio", [0.5, None])
def test_work_in_the_csv_is_over_the_dense_encoders_of_full_depth(results: Path, ratio: float | None) -> None:
    ((block, experiments),) = group(collect(results)[0])[0].items()
    lines, _ = make_lines(experiments, "dense", None)
    static = dataclasses.replace(lines[1], flops_ratio=ratio)  # as where it has half of the layers
    (row,) = csv_rows(BlockTable(block, (static,)), AblationSettings())
    assert row["flops_ratio"] == (None if ratio is None else pytest.approx(ratio))


def test_files_agree_and_say_what_they_are_of(results: Path) -> None:
    text, problems = write_ablation(results, "made_up", AblationSettings())
    folder = results / "made_up"
    assert problems == []
    assert (folder / "ablation.md").read_text() == text
    for fact in (
        "80 examples, complete",
        "100 rows",
        "budget smoke",
        "certificates: mine",
        "seeds: 0, 1",
        "Abacus, 2 cores",
    ):
        assert fact in text
    assert "reported split itself" not in text
    rows = list(csv.DictReader((folder / "ablation.csv").read_text().splitlines()))
    assert [(row["experiment"], row["seed"]) for row in rows] == [
        *(("ablation/dense", "0"), ("ablation/dense", "1")),
        *(("ablation/static_2", "0"), ("ablation/eat", "0"), ("ablation/eat", "1")),
    ]
    assert (rows[0]["speedup"], rows[0]["machine"], rows[0]["holdout"]) == ("2", "Abacus, 2 cores", "mine")
    assert {row["compression"] for row in rows} == {"none"}
    cells = re.search(r"^\| eat +\|.*$", text, re.M)[0]
    assert re.search(r"0\.\d{4} ± 0\.\d{4}", cells)
    latex = (folder / "ablation.tex").read_text()
    assert r"static\_2 & 1 & full depth" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    before = {path.name: path.read_bytes() for path in folder.glob("ablation.*")}
    write_ablation(results, "made_up", AblationSettings())
    assert {path.name: path.read_bytes() for path in folder.glob("ablation.*")} == before


def test_what_was_done_to_the_weights_is_a_column(tmp_path: Path) -> None:
    write_logged(tmp_path / "made_up" / "a")
    write_logged(tmp_path / "made_up" / "b", "systems/movement", compression={"name": "movement", "keep": 0.15})
    write_ablation(tmp_path, "made_up", AblationSettings(suite=None))
    rows = list(csv.DictReader((tmp_path / "made_up" / "ablation.csv").read_text().splitlines()))
    assert [(row["experiment"], row["compression"]) for row in rows] == [
        ("ablation/dense", "none"),
        ("systems/movement", "movement"),
    ]


def test_what_was_chosen_on_the_reported_split_is_said(tmp_path: Path) -> None:
    splits = {"validation": 80}
    write_logged(tmp_path / "made_up" / "a", holdout={"name": "none"}, splits=splits)
    write_logged(tmp_path / "made_up" / "b", "ablation/eat", holdout={"name": "none"}, splits=splits, exit=CONFIDENCE)
    text, _ = write_ablation(tmp_path, "made_up", AblationSettings(within=1.0))
    assert "thresholds are chosen on the reported split itself" in text
    rows = list(csv.DictReader((tmp_path / "made_up" / "ablation.csv").read_text().splitlines()))
    assert [row["chosen_on"] for row in rows] == ["reported", "reported"]


def test_a_loss_of_so_many_points_chooses_the_cheapest_exit(results: Path) -> None:
    ((_, experiments),) = group(collect(results)[0])[0].items()
    lines = {within: make_lines(experiments, "dense", within)[0][-1] for within in (0.0, 100.0)}
    assert lines[100.0].flops_ratio < lines[0.0].flops_ratio
    assert lines[100.0].mean(lambda point: point.avg_depth) == 1.0


def test_no_dense_and_no_dense_of_a_seed_are_named(results: Path) -> None:
    write_logged(results / "made_up" / "eat2", "ablation/eat", seed=2, noise=0.5, exit=CONFIDENCE)
    problems = [str(problem) for problem in write_ablation(results, "made_up", AblationSettings())[1]]
    assert any("eat" in problem and "seed 2 has no dense run" in problem for problem in problems)
    text, found = write_ablation(results, "made_up", AblationSettings(baseline="plain"))
    assert "no run of 'plain' to compare with" in str(found[0])
    assert "no run of 'plain' to compare with" in text


def test_weights_of_another_task_make_another_block(results: Path) -> None:
    for seed in (0, 1):
        taught = {"name": "tiny", "path": f"runs/reviews/dense-seed{seed}-0123abcd/model"}
        for experiment, depths in (("dense", 0), ("eat", 1)):
            folder = results / "made_up" / f"{experiment}-after{seed}"
            write_logged(folder, f"ablation/{experiment}", seed=seed, noise=0.2 + depths, backbone=taught)
    text, problems = write_ablation(results, "made_up", AblationSettings())
    assert "## made_up, tiny, budget smoke" in text and "## made_up, tiny from reviews/dense, budget smoke" in text
    assert "- backbone: tiny from reviews/dense; seeds: 0, 1" in text
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ")]
    seeds = [(name.strip(), seeds.strip()) for name, seeds in rows]
    assert seeds.count(("dense", "2")) == 2 and seeds.count(("eat", "2")) == 2
    assert problems == []


def test_a_run_that_goes_on_stands_beside_the_dense_run_whose_weights_it_began_with(results: Path) -> None:
    dense = "dense-seed0-0123abcd"
    reviews = {"name": "tiny", "path": "runs/reviews/dense-seed0-0123abcd/model"}
    write_logged(results / "made_up" / dense, noise=0.5, backbone=reviews)
    further = {"name": "tiny", "path": f"runs/made_up/{dense}/model"}
    write_logged(results / "made_up" / "more-seed0-0123abcd", "ablation/more", noise=0.3, backbone=further)
    blocks = group(collect(results)[0])[0]
    (of_reviews,) = [found for block, found in blocks.items() if block.start == "reviews/dense"]
    assert [experiment.name for experiment in of_reviews] == ["dense", "more"]


def test_a_training_that_was_longer_than_the_dense_one_is_said(tmp_path: Path) -> None:
    begun = {"name": "tiny", "path": "runs/made_up/dense-seed0-0123abcd"}
    root = tmp_path / "made_up"
    write_logged(root / "dense", trainer={"max_epochs": 2, "max_steps": -1})
    write_logged(root / "eat", "ablation/eat", trainer={"max_epochs": 3, "max_steps": -1})
    write_logged(root / "more", "ablation/more", backbone=begun, trainer={"max_epochs": 2, "max_steps": -1})
    write_logged(root / "steps", "ablation/steps", trainer={"max_epochs": 9, "max_steps": 5})
    text, problems = write_ablation(tmp_path, "made_up", AblationSettings())
    name = "(made_up, tiny, budget smoke, holdout mine): "
    assert [*map(str, problems)] == [
        f"eat {name}is trained for 3 epochs, dense for 2",
        f"more {name}goes on from the weights of made_up/dense",
    ]
    assert str(problems[0]) in text


def test_no_run_at_all_is_an_error_that_names_the_reasons(tmp_path: Path) -> None:
    folder = write_logged(tmp_path / "made_up" / "a")
    (folder / "superseded.json").write_text(json.dumps({"by": "b"}))
    with pytest.raises(FileNotFoundError, match=r"tasks: no finished run .*superseded by b"):
        write_ablation(tmp_path, "made_up", AblationSettings())


def test_a_manifest_tells_what_changed(results: Path) -> None:
    write_ablation(results, "made_up", AblationSettings())
    assert check_manifests(results) == []
    page = results / "made_up" / "ablation.md"
    page.write_text(page.read_text().replace("0.", "1.", 1))
    (results / "made_up" / "eat0" / "superseded.json").write_text(json.dumps({"by": "eat1"}))
    (results / "made_up" / "dense0" / "environment.json").write_text("{}")
    found = check_manifests(results)
    assert len(found) == 3
    assert "ablation.md: other bytes" in found[0]
    assert "dense0 changed" in found[1]
    assert "eat0 superseded by eat1" in found[2]


def test_seeds_and_examples_are_drawn_together() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, size=200)

    def accuracy(said: np.ndarray, truth: np.ndarray) -> float:
        return float((said == truth).mean())

    wrong = generator.random((3, 200)) < 0.2
    theirs = np.where(wrong, 1 - labels, labels)
    ours = np.where(wrong & (generator.random((3, 200)) < 0.5), labels, theirs)
    low, high = seeds_difference_interval(accuracy, labels, ours, theirs)
    mean = np.mean([accuracy(o, labels) - accuracy(t, labels) for o, t in zip(ours, theirs, strict=True)])
    assert 0 < low < mean < high
    one = seeds_difference_interval(accuracy, labels, ours[:1], theirs[:1])
    assert one == pytest.approx(paired_difference_interval(accuracy, labels, ours[0], theirs[0]), abs=0.02)
    assert seeds_difference_interval(accuracy, labels, ours, ours) == (0.0, 0.0)
    with pytest.raises(ValueError, match="the same seeds"):
        inspect.unwrap(seeds_difference_interval)(accuracy, labels, ours, theirs[:2])


def test_latex_is_escaped() -> None:
    assert escape(r"50 % of a_b & c$ {x} \d ~ ^ -1.5 ± e-3") == (
        r"50 \% of a\_b \& c\$ \{x\} \textbackslash{}d \textasciitilde{} \textasciicircum{} $-$1.5 $\pm$ e-3"
    )
    table = latex_table(["a", "b"], [["[x]", "1"]], "c_d", "tab:A b")
    assert r"    {}[x] & 1 \\" in table
    assert r"\label{tab:a-b}" in table
    with pytest.raises(ValueError, match="expected 2 cells"):
        latex_table(["a", "b"], [["x"]], "c", "d")


def test_published_rows_stand_with_their_source_and_faults() -> None:
    text = published_section("mnli")
    assert "| eat        | 0.90 |   0.3840 |" in text
    assert "MNLI at 38 % is an error" in text
    assert "arXiv 2510.12856" in text
    assert published_section("demo") == ""
    paper, others = published_latex("mnli")
    assert r"MNLI at 38 \% is an error" in paper and "& 0.3840 &" in paper
    assert "MiniLM-L6-H384 dense & MiniLMv1-L6 & accuracy & - & 83.3 &" in others
    assert published_latex("demo") == []


def test_of_several_dense_configurations_each_is_beside_the_nearest(results: Path) -> None:
    write_logged(results / "made_up" / "smoothed", noise=0.1, objective={"name": "joint", "label_smoothing": 0.1})
    ((_, experiments),) = group(collect(results)[0])[0].items()
    lines, problems = make_lines(experiments, "dense", None)
    plain, smoothed, static, eat = lines
    assert [smoothed.experiment.runs[0].run.name, smoothed.delta, smoothed.flops_ratio] == ["smoothed", None, 1.0]
    assert eat.delta.points == pytest.approx(100 * (eat.value[0] - plain.value[0]))
    assert static.delta is not None
    assert "each other is beside the nearest" in "".join(map(str, problems))
    write_logged(results / "made_up" / "apart", "ablation/window", objective={"name": "joint", "label_smoothing": 0.2})
    write_logged(results / "made_up" / "third", noise=0.1, objective={"name": "joint", "label_smoothing": 0.3})
    ((_, experiments),) = group(collect(results)[0])[0].items()
    lines, problems = make_lines(experiments, "dense", None)
    assert lines[-1].experiment.name == "window"
    assert lines[-1].delta is None
    assert any(
        "window" in str(problem) and "as near to several 'dense': beside none" in str(problem) for problem in problems
    )
