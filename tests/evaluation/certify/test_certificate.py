"""Certificates on made-up traces: what is chosen, what it rests on, and what is refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from eat.evaluation.certify import certificate as certify
from eat.evaluation.certify.certificate import ReportedLoss, make_certificate
from eat.evaluation.certify.losses import RISKS, accuracy_gap
from eat.evaluation.certify.p_values import betting_p_value
from eat.evaluation.certify.settings import METHODS, CertifySettings
from eat.evaluation.report.certificate import certificate_markdown
from eat.exits import EXITS
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces
from eat.traces.splits import compare_splits, split_fingerprint
from eat.traces.trace import Trace
from tests.made.traces import as_runs, make_run, make_trace

pytestmark = pytest.mark.usefixtures("no_bootstrap")
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999]


def changed(run: dict[str, Trace], split: str, **parts: Any) -> dict[str, Trace]:
    return run | {split: dataclasses.replace(run[split], **parts)}


def certified(
    runs: dict[str, RunTraces], settings: CertifySettings, thresholds: list[float] | None = THRESHOLDS
) -> dict[str, Any]:
    """Certify with fewer thresholds than by default, most of the time; the answer as `certificate.json` holds it."""
    return make_certificate(runs, settings, {} if thresholds is None else dict.fromkeys(EXITS, thresholds)).to_json()


@pytest.fixture(scope="module")
def run() -> dict[str, Trace]:
    return make_run()


@pytest.mark.parametrize("loss", RISKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_point_is_certified_and_cheaper(method: str, loss: str, run: dict[str, Trace]) -> None:
    result = certified(as_runs(a=run), CertifySettings(max_drop=0.03, method=method, loss=loss))
    certificate = result["certificate"]
    trace = run["certification"]
    replayed = replay(trace, OperatingPoint.of(certificate["exit"]))
    losses = RISKS[loss].loss(replayed.logits, trace.all_logits[:, -1], trace.labels)
    assert losses.any() and losses.mean() <= certificate["observed"] < 0.03
    if method != "conformal_risk_control":  # whose loss was made monotone
        assert certificate["observed"] == pytest.approx(losses.mean())
        lost, gained = np.array((losses == 1).sum()), np.array((losses == -1).sum())
        exact = stats.binom.cdf(np.ceil(losses.sum() - 1e-9), 1500, 0.03)
        assert (betting_p_value(lost, 1500, 0.03, gained) if loss == "accuracy_drop" else exact) <= 0.05
    assert certificate["average_depth"] == replayed.exit_depth.mean() < 3
    assert 0 < certificate["flops_ratio"] < 1
    assert sum(certificate["exit_shares"].values()) == pytest.approx(1)
    assert certificate["confidence"] == (None if method == "conformal_risk_control" else 0.95)
    assert result["reported"]["split"] == "validation" and result["refusal"] is None


def test_more_may_be_lost_more_is_saved(run: dict[str, Trace]) -> None:
    for method in METHODS:
        depths = [
            certified(as_runs(a=run), CertifySettings(max_drop=drop, method=method))["certificate"]["average_depth"]
            for drop in (0.015, 0.03, 0.06)
        ]
        assert depths[0] > depths[1] > depths[2]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_tested_does_not_depend_on_the_certification_split(method: str, run: dict[str, Trace]) -> None:
    settings = CertifySettings(max_drop=0.03, method=method)
    other = run | {"certification": make_trace(1500, "certification", seed=77)}
    tested = [certified(as_runs(a=r), settings)["tested"] for r in (run, other)]
    shared = min(map(len, tested))
    assert shared > 5
    first, second = ([(p["exit"], p["risk"], p["flops"]) for p in points[:shared]] for points in tested)
    assert first == second
    assert certified(as_runs(a=run), settings) != certified(as_runs(a=other), settings)


@pytest.mark.parametrize("method", ["pareto_testing", "learn_then_test"])
def test_a_veto_is_part_of_every_point_and_of_the_certificate(method: str, run: dict[str, Trace]) -> None:
    """At a margin of 1 all heads must agree, so no sequence leaves after the first."""
    free, vetoed = (
        certified(as_runs(a=run), CertifySettings(max_drop=0.03, method=method, veto_margin=veto_margin))
        for veto_margin in (None, 1.0)
    )
    assert free["certificate"]["exit_shares"]["1"] > 0.1 and "veto_margin" not in free["certificate"]["exit"]
    assert set(vetoed["certificate"]["exit_shares"]) == {"2", "3"}
    assert all(p["exit"].get("veto_margin") == 1.0 for p in vetoed["tested"] if p["exit"]["name"] != "never")


def test_the_certificate_says_what_certified_answers_look_like(run: dict[str, Trace]) -> None:
    certificate = certified(as_runs(a=run), CertifySettings(max_drop=0.03))["certificate"]
    profile = certificate["profile"]
    shares = {str(int(place) + 1): count / 1500 for place, count in profile["counts"]["depth"].items()}
    assert shares == certificate["exit_shares"] and profile["examples"] == 1500
    retained = sum((int(place) + 1) / 64 * count for place, count in profile["counts"]["retention"].items()) / 1500
    assert certificate["retention"] <= retained <= certificate["retention"] + 1 / 64


def test_the_reported_split_does_not_matter(run: dict[str, Trace]) -> None:
    settings = CertifySettings(max_drop=0.03)
    other = run | {"validation": make_trace(500, "validation", seed=99, noise=3.0)}
    one, two = (certified(as_runs(a=r), settings) for r in (run, other))
    assert one["certificate"] == two["certificate"] and one["reported"] != two["reported"]


@pytest.mark.parametrize("draws", [60, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", METHODS)
def test_the_guarantee_holds_through_the_whole_path(method: str, draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many certification splits out of a population; the point is chosen, tested and held against the true risk."""
    monkeypatch.setattr(certify, "points_in_order", once(certify.points_in_order))  # which the draws do not change
    population = make_trace(4_000, "certification", seed=5)
    full, labels = population.all_logits[:, -1], population.labels
    held_out, reported = make_trace(400, "threshold", seed=6), make_trace(50, "validation", seed=7)
    settings = CertifySettings(max_drop=0.03, confidence=0.9, method=method, criteria=["confidence"])
    true_risk = {FULL_DEPTH: 0.0}
    risks = []
    for seed in range(draws):
        rows = np.random.default_rng(seed).integers(len(population), size=400)
        parts = {name: getattr(population, name)[rows] for name in ("labels", "all_logits", "tokens_kept")}
        drawn = dataclasses.replace(population, **parts)
        runs = as_runs(a={"threshold": held_out, "certification": drawn, "validation": reported})
        found = certified(runs, settings, [0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98])["certificate"]
        exit = OperatingPoint.of(found["exit"]) if found else FULL_DEPTH
        if exit not in true_risk:
            true_risk[exit] = accuracy_gap(replay(population, exit).logits, full, labels).mean()
        risks.append(true_risk[exit])
    assert np.mean(risks) > 0.01  # it does go near the bound
    if method == "conformal_risk_control":  # holds in expectation
        assert np.mean(risks) <= 0.03 + 3 * np.std(risks) / np.sqrt(draws)
    else:
        assert (np.array(risks) > 0.03).sum() <= stats.binom.ppf(0.999, draws, 0.1)


def once(build: Any) -> Any:
    """Return what a function gave the first time, ever after."""
    made: list[Any] = []

    def built(*args: Any) -> Any:
        if not made:
            made.append(build(*args))
        return made[0]

    return built


def test_the_cheaper_schedule_is_taken_where_it_loses_little(run: dict[str, Trace]) -> None:
    kept = {split: np.minimum(trace.tokens_kept, [99, 4, 4, 0]) for split, trace in run.items()}
    pruned = {split: dataclasses.replace(trace, tokens_kept=kept[split]) for split, trace in run.items()}
    settings = CertifySettings(max_drop=0.03)
    both = certified(as_runs(a=run, pruned=pruned), settings)["certificate"]
    assert both["run"] == "pruned" and both["reference"] == "full depth of a"
    assert both["gflops"] < certified(as_runs(a=run), settings)["certificate"]["gflops"]
    wrong = {split: dataclasses.replace(trace, all_logits=-trace.all_logits) for split, trace in pruned.items()}
    assert certified(as_runs(a=run, wrong=wrong), settings)["certificate"]["run"] == "a"


def test_what_exits_lose_too_often_is_refused_with_numbers() -> None:
    run = make_run(certification=400, noise=3.0)
    run["threshold"] = make_trace(400, "threshold", seed=0, noise=0.1)  # there exits look harmless
    settings = CertifySettings(max_drop=0.01, criteria=["patience"], method="learn_then_test")
    refusal = certified(as_runs(a=run), settings)["refusal"]
    assert refusal["exit"]["name"] == "patience" and refusal["mean"] >= 0.01
    assert refusal["examples_needed"] is None and "lose too much" in refusal["reason"]


def test_a_small_split_is_refused_with_the_examples_needed(run: dict[str, Trace]) -> None:
    full = run["certification"].all_logits[:, -1]
    logits = np.repeat(full[:, None], 3, axis=1)
    right = full.argmax(1) == run["certification"].labels
    spoilt = np.argsort(-np.abs(full[:, 0]) * right)[:7]
    logits[spoilt, :2] *= -1  # seven sure answers that every exit spoils: one too many
    result = make_certificate(
        as_runs(a=changed(run, "certification", all_logits=logits)),
        CertifySettings(max_drop=0.008, criteria=["patience"], method="learn_then_test"),
        dict.fromkeys(EXITS, THRESHOLDS),
    )
    refusal = result.to_json()["refusal"]
    assert result.certificate is None
    assert refusal["mean"] == 7 / 1500 and refusal["examples"] == 1500
    needed = refusal["examples_needed"]
    assert needed > 1500 and stats.binom.cdf(np.ceil(needed * 7 / 1500 - 1e-9), needed, 0.008) <= 0.05
    remedy = f"certifying that takes {needed:,} (train with a larger data.certification_examples)"
    assert remedy in certificate_markdown(result)


def test_splits_are_compared(run: dict[str, Trace]) -> None:
    facts = compare_splits(run["certification"], run["validation"])
    assert facts.differs_in == []
    longer = run["validation"].tokens_kept.copy()
    longer[:, 0] += 2
    other = changed(run, "validation", tokens_kept=longer, labels=1 - run["validation"].labels)["validation"]
    assert compare_splits(run["certification"], other).differs_in == ["length", "full-depth accuracy"]
    assert facts.splits[0].length_percentiles["50"] == np.median(run["certification"].lengths)


def test_a_split_is_named_by_its_examples(run: dict[str, Trace]) -> None:
    trace = run["certification"]
    name = split_fingerprint(trace)
    assert split_fingerprint(dataclasses.replace(trace, all_logits=trace.all_logits + 1)) == name
    assert split_fingerprint(dataclasses.replace(trace, metadata={"split": "certification"})) == name
    for other in (
        dataclasses.replace(trace, labels=1 - trace.labels),
        dataclasses.replace(trace, tokens_kept=trace.tokens_kept[::-1]),
        run["validation"],
    ):
        assert split_fingerprint(other) != name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_drop": 0}, r"certify.max_drop: expected a number in \(0, 1\), got 0"),
        ({"max_drop": 1.0}, r"certify.max_drop: .* got 1.0"),
        ({"max_drop": -0.01}, r"certify.max_drop: .* got -0.01"),
        ({"max_drop": float("nan")}, r"certify.max_drop: .* got nan"),
        ({"confidence": 95}, r"certify.confidence: .* got 95"),
        ({"confidence": 1.0}, r"certify.confidence: .* got 1.0"),
        ({"loss": "accuracy"}, r"certify.loss: expected one of \['accuracy_drop', .* got 'accuracy'"),
        ({"method": "ltt"}, r"certify.method: expected one of \['conformal_risk_control', .* got 'ltt'"),
        ({"veto_margin": 1.5}, r"certify.veto_margin: expected a number in \[0, 1\], got 1.5"),
        (
            {"by": ""},
            r"certify.by: expected label, length or a column of the traces, got ''",
        ),
        ({"reference": "a\nb"}, r"certify.reference: expected a folder, got"),
        (
            {"criteria": ["confident"]},
            r"certify.criteria: expected one of \['agreement', .* 'confident' .*'confidence'",
        ),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CertifySettings(**{"max_drop": 0.01} | settings)


@pytest.mark.parametrize(
    ("method", "loss", "least"),
    [
        ("pareto_testing", "accuracy_gap", 299),
        ("learn_then_test", "brier_gap", 299),
        ("conformal_risk_control", "accuracy_gap", 99),
    ],
)
def test_too_few_examples(method: str, loss: str, least: int) -> None:
    settings = CertifySettings(max_drop=0.01, method=method, loss=loss)
    with pytest.raises(ValueError, match=rf"has {least - 1} examples; certifying 0.01 .* takes at least {least}"):
        certified(as_runs(a=make_run(certification=least - 1)), settings)
    certified(as_runs(a=make_run(certification=least)), settings)


def test_one_class_only(run: dict[str, Trace]) -> None:
    one = as_runs(a=changed(run, "certification", labels=np.ones(1500, dtype=int)))
    with pytest.raises(ValueError, match=r"all 1500 labels of the certification split are class 1"):
        certified(one, CertifySettings(max_drop=0.02))
    assert certified(one, CertifySettings(max_drop=0.02, loss="inconsistency"))["certificate"]


@pytest.mark.parametrize("split", ["threshold", "certification"])
def test_a_split_is_missing(split: str, run: dict[str, Trace]) -> None:
    with pytest.raises(ValueError, match=rf"expected a {split} split, a has .*data.{split}_examples above 0"):
        certified(as_runs(a={name: t for name, t in run.items() if name != split}), CertifySettings(max_drop=0.02))


def test_empty_and_broken_splits_are_no_traces(run: dict[str, Trace]) -> None:
    trace = run["certification"]
    parts = {name: getattr(trace, name)[:0] for name in ("labels", "all_logits", "tokens_kept")}
    with pytest.raises(ValueError, match="at least one example, got none"):
        dataclasses.replace(trace, **parts)
    logits = trace.all_logits.copy()
    logits[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 1500 examples have NaN or infinite logits, first example 3"):
        dataclasses.replace(trace, all_logits=logits)


def test_no_early_heads(run: dict[str, Trace]) -> None:
    single = {
        name: dataclasses.replace(trace, all_logits=trace.all_logits[:, -1:], head_depths=(3,))
        for name, trace in run.items()
    }
    with pytest.raises(ValueError, match=r"heads at depths \[3\] none of .* lets a sequence leave"):
        certified(as_runs(a=single), CertifySettings(max_drop=0.02))


def test_a_criterion_that_the_heads_cannot_serve(run: dict[str, Trace]) -> None:
    two = {
        name: dataclasses.replace(trace, all_logits=trace.all_logits[:, 1:], head_depths=(2, 3))
        for name, trace in run.items()
    }
    with pytest.raises(ValueError, match=r"heads at depths \[2, 3\] none of \['patience'\] lets a sequence leave"):
        certified(as_runs(a=two), CertifySettings(max_drop=0.02, criteria=["patience"]))


def test_thresholds_out_of_range(run: dict[str, Trace]) -> None:
    with pytest.raises(ValueError, match=r"exit.threshold: expected a number in \[0, 1\], got 1.5"):
        certified(as_runs(a=run), CertifySettings(max_drop=0.02), [0.5, 1.5])


def test_regression_has_no_classes(run: dict[str, Trace]) -> None:
    scores = {name: dataclasses.replace(trace, all_logits=trace.all_logits[:, :, :1]) for name, trace in run.items()}
    with pytest.raises(ValueError, match="a predicts a score"):
        certified(as_runs(a=scores), CertifySettings(max_drop=0.02))


def test_runs_must_answer_the_same_examples(run: dict[str, Trace]) -> None:
    other = run | {"certification": make_trace(1400, "certification", seed=1)}
    with pytest.raises(ValueError, match=r"certify.runs: b: its trace must answer the same 1500 examples .* has 1400"):
        certified(as_runs(a=run, b=other), CertifySettings(max_drop=0.02))


@pytest.mark.parametrize("split", ["threshold", "certification", "validation"])
def test_equal_labels_do_not_make_other_rows_the_same(split: str, run: dict[str, Trace]) -> None:
    kept = run[split].tokens_kept
    other = changed(run, split, tokens_kept=np.roll(kept, 1, axis=0))  # as two draws of data that are sorted by class
    with pytest.raises(ValueError, match=rf"b: its trace must answer the same .* of '{split}', .* have other lengths"):
        certified(as_runs(a=run, b=other), CertifySettings(max_drop=0.02))


def test_on_the_same_data_another_tokenizer_may_give_other_lengths(run: dict[str, Trace]) -> None:
    same = {
        name: dataclasses.replace(trace, metadata=trace.metadata | {"data_fingerprint": "abc"})
        for name, trace in run.items()
    }
    kept = same["certification"].tokens_kept
    longer = np.concatenate((kept[:, :1] + 1, kept[:, 1:]), axis=1)
    result = certified(
        as_runs(a=same, b=changed(same, "certification", tokens_kept=longer)), CertifySettings(max_drop=0.03)
    )
    assert result["certificate"] is not None


def test_thresholds_are_those_of_their_criterion_alone(run: dict[str, Trace]) -> None:
    settings = CertifySettings(max_drop=0.03, criteria=["confidence", "entropy"], method="learn_then_test")
    result = make_certificate(as_runs(a=run), settings, {"confidence": [0.123]})
    assert {point.exit.threshold for point in result.tested if point.exit.name == "entropy"} - {0.123}
    only = make_certificate(
        as_runs(a=run), dataclasses.replace(settings, criteria=["confidence"]), {"confidence": [0.97]}
    )
    assert {point.exit.threshold for point in only.tested} == {None, 0.97}


@pytest.mark.parametrize(("lost", "total"), [(0, 50), (3, 872), (12, 1000), (50, 50)])
def test_a_reported_loss_has_its_exact_interval(lost: int, total: int) -> None:
    losses = np.repeat([1.0, 0.0], [lost, total - lost])
    found = ReportedLoss.of(losses, CertifySettings(max_drop=0.01))
    exact = stats.binomtest(lost, total, 0.01, alternative="greater")
    interval = stats.binomtest(lost, total).proportion_ci(0.95, method="exact")
    assert found.mean == lost / total
    assert found.interval == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.p_value == pytest.approx(exact.pvalue)


def test_a_reported_loss_between_0_and_1_has_a_wider_interval() -> None:
    losses = np.repeat([1.0, 0.0], [20, 980])  # an exact interval may be used for these, if nothing else can occur
    any_loss, binary = (
        ReportedLoss.of(losses, CertifySettings(max_drop=0.01, loss=x)) for x in ("brier_gap", "accuracy_gap")
    )
    assert any_loss.interval[0] < binary.interval[0] < 0.02 < binary.interval[1] < any_loss.interval[1]
    assert any_loss.p_value > binary.p_value
    assert (
        ReportedLoss.of(np.repeat([0.5, 0.0], [20, 980]), CertifySettings(max_drop=0.02, loss="brier_gap")).p_value == 1
    )


def test_a_reported_drop_is_weighed_on_both_sides() -> None:
    losses = np.repeat([1.0, -1.0, 0.0], [60, 20, 920])
    found = ReportedLoss.of(losses, CertifySettings(max_drop=0.01, loss="accuracy_drop"))
    low, high = found.interval
    assert found.mean == 0.04 and 0 < low < 0.04 < high and high - 0.04 == pytest.approx(0.04 - low, rel=0.3)
    assert found.p_value < 0.05
    assert ReportedLoss.of(-losses, CertifySettings(max_drop=0.01, loss="accuracy_drop")).p_value == 1


def test_a_loss_above_the_bound_is_weighed(run: dict[str, Trace]) -> None:
    result = make_certificate(as_runs(a=run), CertifySettings(max_drop=0.03))
    above = dataclasses.replace(result, reported_loss=ReportedLoss(0.035, (0.02, 0.05), 0.3))
    against = dataclasses.replace(result, reported_loss=ReportedLoss(0.08, (0.05, 0.1), 1e-4))
    texts = [certificate_markdown(it) for it in (result, above, against)]
    assert "above the certified" not in texts[0]
    assert "0.0350 [0.0200, 0.0500]" in texts[1] and "probability 0.3, so this is no contradiction." in texts[1]
    assert "probability 0.0001. CAUTION: this speaks against the certificate" in texts[2]
