"""Sufficient rules: what is fitted, that the bounds hold, what is chosen, and the stage on a small run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import stats
from sklearn.linear_model import LogisticRegression

from eat.benchmark.tokenizing import encoded_examples
from eat.evaluation import evaluate_run
from eat.evaluation.rules.choose import Candidate, candidates, certify, check_enough, choose, exits_by, rule_test
from eat.evaluation.rules.fit import PENALTY, fit_scores
from eat.evaluation.rules.settings import RulesSettings
from eat.evaluation.rules.taps import Tapped, tap_examples
from eat.evaluation.rules.work import saved_work, taps_before
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.cost import CostModel
from eat.models.rules import EMBEDDINGS, SufficientRule, Tap
from eat.runs.data import load_data
from eat.runs.finished import FinishedRun
from eat.traces.run_traces import read_traces
from tests.made.runs import write_run

NEVER = {"name": "never"}
PLACE = (EMBEDDINGS, "mean")
SMALL = {"max_false_exits": 0.5, "confidence": 0.8, "rounds": 1, "examples": 8, "batch_size": 4, "seconds": 1}


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without early exits, so that every block but the last is tapped; it answers both classes."""
    folder = write_run(tmp_path_factory.mktemp("rules") / "run", exit=NEVER)
    run = FinishedRun(folder)
    model, data = run.load_model("cpu"), load_data(run)
    head = model.encoder.heads["4"]
    with torch.no_grad():
        ids = [torch.tensor([one["input_ids"]]) for one in encoded_examples(data, "train", range(40))]
        head.out.bias -= torch.cat([model(one).logits for one in ids]).median(0).values
    model.save_pretrained(folder / "model")
    return folder


def split(examples: int, classes: int, seed: int, noise: float = 1.0) -> Tapped:
    """Made-up texts whose first dimensions tell the classes apart, but not wholly."""
    generator = np.random.default_rng(seed)
    answers = generator.integers(0, classes, examples)
    rows = generator.normal(size=(examples, 6)) * noise
    rows[np.arange(examples), answers] += 2
    rows[:, 5] = 3.0  # as [CLS] behind the embeddings: the same in every text
    return Tapped({PLACE: rows.astype(np.float32)}, answers)


def all_saved(examples: int) -> dict[Tap, np.ndarray]:
    return {EMBEDDINGS: np.ones(examples)}


@pytest.mark.parametrize("cost", [1.0, 10.0])
def test_the_fit_is_scikit_learns(cost: float) -> None:
    made = split(400, 3, 0)
    rows, is_class = made.pooled[PLACE][:, :5], made.answers[:, None] == np.arange(3)
    deviation = rows.std(0, ddof=1)
    found = fit_scores(torch.from_numpy(rows), torch.from_numpy(is_class), cost).numpy()
    for label in range(3):
        y = is_class[:, label]
        importance = np.where(y, 1, cost)
        reference = LogisticRegression(C=1 / (PENALTY * importance.sum()), tol=1e-10, max_iter=5000)
        reference.fit((rows - rows.mean(0)) / deviation, y, sample_weight=importance)
        np.testing.assert_allclose(found[label] * deviation, reference.coef_[0], rtol=2e-3, atol=2e-3)


def test_what_is_the_same_in_every_text_has_no_weight() -> None:
    made = split(400, 2, 0)
    rows = torch.from_numpy(made.pooled[PLACE])
    found = fit_scores(rows, torch.from_numpy(made.answers[:, None] == np.arange(2)), 1.0)
    assert (found[:, 5] == 0).all() and (found[:, :2] != 0).all()


def test_bound_and_error_are_split_among_rules() -> None:
    settings = RulesSettings(max_false_exits=0.03, confidence=0.9)
    test = rule_test(settings, 3)
    assert test.max_risk == pytest.approx(0.01) and test.confidence == pytest.approx(1 - 0.1 / 3)
    check_enough(settings, int(np.ceil(np.log(0.1) / np.log(0.97))))
    with pytest.raises(ValueError, match=r"has 75 examples; certifying 0.03 at 90 % confidence takes at least 76"):
        check_enough(settings, 75)


def test_bounds_hold_together_in_simulated_draws() -> None:
    """Rules of three classes, chosen once, are certified on 300 splits; the true shares are known from many texts."""
    settings = RulesSettings(max_false_exits=0.06, confidence=0.8)
    rows = 400
    found = list(candidates(split(500, 3, 1), split(300, 3, 2), all_saved(300), settings, rows))
    chosen = choose(found, settings, rows)
    assert sorted(one.label for one in chosen) == [0, 1, 2]
    population = split(40_000, 3, 3)
    scores = [one.scores(population) for one in chosen]
    failures = total = certified = 0
    for seed in range(300):
        tested = certify(chosen, split(rows, 3, 10 + seed), settings)
        certified += sum(one.rule is not None for one in tested)
        shares = [
            ((score > one.rule.threshold) & (population.answers != one.candidate.label)).mean()
            for score, one in zip(scores, tested, strict=True)
            if one.rule is not None
        ]
        failures += any(share > settings.max_false_exits / 3 for share in shares)
        by = exits_by(tested, population)
        answers = np.array([one.candidate.label for one in tested])[by]
        total += ((by >= 0) & (answers != population.answers)).mean() > settings.max_false_exits
    allowed = stats.binom.ppf(0.999, 300, 0.2)
    assert certified > 600 and failures <= allowed and total <= allowed


def test_thresholds_are_tested_in_order_until_one_fails() -> None:
    weight = np.ones(1, dtype=np.float32)
    candidate = Candidate(PLACE, 1, weight, np.array([3.5, 2.5, 1.5, 0.5], dtype=np.float32), 0.5, 0.5)
    scores = np.repeat([4.0, 3.0, 2.0, 1.0], [40, 40, 40, 40])
    answers = np.ones(160, dtype=int)
    answers[40:45] = 0  # five of those with 3
    held_out = Tapped({PLACE: scores[:, None].astype(np.float32)}, answers)
    (one,) = certify([candidate], held_out, RulesSettings(max_false_exits=0.04, confidence=0.9))
    assert one.rule is not None and one.rule.threshold == 3.5 and (one.fires, one.false) == (40, 0)
    assert one.rule.bound == 0.04 and one.rule.exit_bound == pytest.approx(1 - 0.1 ** (1 / 40))
    (one,) = certify([candidate], held_out, RulesSettings(max_false_exits=0.09, confidence=0.9))
    assert one.rule is not None and one.rule.threshold == 0.5 and (one.fires, one.false) == (160, 5)
    answers[:5] = 0
    (one,) = certify([candidate], held_out, RulesSettings(max_false_exits=0.04, confidence=0.9))
    assert one.rule is None and one.reason == "its most cautious threshold fails"


def test_a_rule_that_hardly_fires_is_refused() -> None:
    candidate = Candidate(PLACE, 1, np.ones(1, dtype=np.float32), np.array([3.5], dtype=np.float32), 0.5, 0.5)
    scores = np.repeat(np.array([4.0, 1.0], dtype=np.float32), [2, 158])[:, None]
    (one,) = certify([candidate], Tapped({PLACE: scores}, np.ones(160, dtype=int)), RulesSettings(max_false_exits=0.1))
    assert one.rule is None and one.reason == "it fires 2 times there, too rarely to tell"


def test_a_class_that_a_split_lacks_has_no_rule() -> None:
    settings, rows = RulesSettings(max_false_exits=0.2), 400
    fitted, chosen_on, held_out = split(500, 3, 1), split(300, 3, 2), split(rows, 3, 4)
    found = list(candidates(fitted, chosen_on, all_saved(300), settings, rows))
    without = Tapped(held_out.pooled, np.where(held_out.answers == 2, 1, held_out.answers))
    tested = certify(choose(found, settings, rows), without, settings)
    assert [one.reason for one in tested if one.candidate.label == 2] == [
        "no text of the certification split is answered 2"
    ]
    for lacking in ("fitted", "chosen_on"):
        given = {"fitted": fitted, "chosen_on": chosen_on}
        given[lacking] = Tapped(given[lacking].pooled, np.where(given[lacking].answers == 2, 1, given[lacking].answers))
        labels = {c.label for c in candidates(given["fitted"], given["chosen_on"], all_saved(300), settings, rows)}
        assert labels == {0, 1}


def test_rows_for_fewer_rules_than_classes_leave_the_best() -> None:
    settings = RulesSettings(max_false_exits=0.3, confidence=0.9)
    made = [Candidate(PLACE, label, np.ones(1), np.zeros(1), 0.5, saved) for label, saved in enumerate([0.1, 0.3, 0.2])]
    assert [one.label for one in choose(made, settings, 1000)] == [0, 1, 2]
    assert [one.label for one in choose(made, settings, 20)] == [1, 2]
    assert [one.label for one in choose(made, settings, 7)] == [1]
    assert choose([Candidate(PLACE, 0, np.ones(1), np.zeros(1), 0.0, 0.0)], settings, 1000) == []


def test_taps_come_before_the_block_of_the_first_head() -> None:
    early = OperatingPoint.of({"name": "confidence", "threshold": 0.9})
    assert taps_before((1, 3), early, None) == [EMBEDDINGS]
    assert taps_before((1, 3), FULL_DEPTH, None)[-1] == Tap(2, "block")
    assert taps_before((2, 3), early, None) == [EMBEDDINGS, Tap(1, "attention"), Tap(1, "block")]
    assert taps_before((3,), FULL_DEPTH, 1) == [EMBEDDINGS, Tap(1, "attention"), Tap(1, "block")]


def test_work_saved_is_that_of_what_does_not_run(small: Path) -> None:
    evaluate_run(small, stages=["quality"])
    model = FinishedRun(small).load_model("cpu")
    trace = read_traces(FinishedRun(small)).need("threshold", "test")
    saved = saved_work(model, trace, taps_before((3,), FULL_DEPTH, None))
    cost, kept = CostModel(model.config), trace.tokens_kept.astype(np.int64)
    full = cost.executed(kept, np.full(len(kept), 4), early_heads=False)
    np.testing.assert_allclose(saved[EMBEDDINGS], full / full.mean())
    inner = 2 * 2 * 32 * 64 * kept[:, 1]
    np.testing.assert_allclose((saved[Tap(2, "attention")] - saved[Tap(2, "block")]) * full.mean(), inner)


def test_taps_pool_what_a_text_alone_looks_like(small: Path) -> None:
    run = FinishedRun(small)
    model, data = run.load_model("cpu"), load_data(run)
    examples = encoded_examples(data, "validation", range(12))
    found = tap_examples(model, examples, [EMBEDDINGS, Tap(1, "block")], batch_size=5)
    assert set(found.pooled) == {(tap, p) for tap in (EMBEDDINGS, Tap(1, "block")) for p in ("cls", "mean")}
    for index, example in enumerate(examples):
        ids = torch.tensor([example["input_ids"]])
        with torch.inference_mode():
            rows = model.encoder.embeddings(ids[0], torch.arange(ids.shape[1]), torch.zeros_like(ids[0]))
            answer = model(ids).logits.argmax().item()
        np.testing.assert_allclose(found.pooled[EMBEDDINGS, "mean"][index], rows.mean(0).numpy(), atol=1e-5)
        np.testing.assert_allclose(found.pooled[EMBEDDINGS, "cls"][index], rows[0].numpy(), atol=1e-5)
        assert found.answers[index] == answer


def test_the_stage_reports_and_changes_no_model(small: Path) -> None:
    before = (small / "model" / "config.json").read_bytes()
    evaluate_run(small, stages=["rules"], rules=SMALL)
    report = json.loads((small / "report" / "rules.json").read_text())
    text = (small / "report" / "rules.md").read_text()
    assert (small / "model" / "config.json").read_bytes() == before
    assert report["rules"] and report["bound"] <= 0.5 and "rules certified" in text
    names = read_traces(FinishedRun(small)).reported.task.label_names
    assert all(re.search(rf"^\| {names[rule['label']]} +\| ", text, re.MULTILINE) for rule in report["rules"])
    agree, live = report["times"]["agree"]
    assert agree == live == 8
    assert set(report["reported"]["accuracy"]) == set(report["times"]["timings"]) == {"never", "never + rules"}
    assert (small / "report" / "rules_taps.csv").read_text().startswith("tap,depth,pooling,class,coverage,saved\n")
    model = FinishedRun(small).load_model("cpu")
    model.set_rules(map(SufficientRule.of, report["rules"]))
    ids = encoded_examples(load_data(FinishedRun(small)), "validation", range(report["reported"]["examples"]))
    with torch.inference_mode():
        depths = [model(torch.tensor([one["input_ids"]])).exit_depth.item() for one in ids]
    assert sum(depth < 4 for depth in depths) == report["reported"]["exits"]


def test_a_model_gets_its_rules_where_asked(small: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small, tmp_path / "run"))
    evaluate_run(run, stages=["rules"], rules=SMALL | {"apply": True})
    assert FinishedRun(run).load_model("cpu").rules
    assert FinishedRun(run).load_model("cpu", certified=False).rules == ()
    assert AdaptiveForSequenceClassification.from_pretrained(run / "model").rules
    config = json.loads((run / "model" / "config.json").read_text())
    config["certificate"] = {"exit": NEVER, "model": "0"}
    (run / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"rules\.apply: the saved model of run carries a certificate"):
        evaluate_run(run, stages=["rules"], rules=SMALL | {"apply": True})


def test_regression_and_missing_splits_are_refused(tmp_path: Path, small: Path) -> None:
    score = write_run(tmp_path / "score", regression=True, exit=NEVER)
    with pytest.raises(ValueError, match=r"rules: expected classes, and score predicts a score \(regression\)"):
        evaluate_run(score, stages=["rules"])
    with pytest.raises(ValueError, match=r"rules: the certification split has 10 examples; .* takes at least 299"):
        evaluate_run(small, stages=["rules"])
    without = Path(shutil.copytree(small, tmp_path / "without"))
    config = yaml.safe_load((without / "config.yaml").read_text())
    config["data"] |= {"threshold_examples": 0, "certification_examples": 0}
    (without / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.rmtree(without / "trace", ignore_errors=True)
    with pytest.raises(ValueError, match="rules: expected a certification split"):
        evaluate_run(without, stages=["rules"], rules=SMALL)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_false_exits": 0}, "rules.max_false_exits"),
        ({"confidence": 1}, "rules.confidence"),
        ({"max_depth": -1}, "rules.max_depth"),
        ({"fit_examples": 0}, "rules.fit_examples"),
        ({"batch_size": 0}, "rules.batch_size"),
        ({"seconds": 0}, "rules.seconds"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RulesSettings(**values)
