"""Bounds per group: what the groups are, that every one counts, and what is refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.groups import Groups, groups_of, pass_in_all, results_of
from eat.evaluation.certify.losses import accuracy_gap
from eat.evaluation.certify.risk_control import BinomialTest, ExpectationBound, SignedTest, certified_prefix
from eat.evaluation.certify.settings import METHODS, CertifySettings
from eat.evaluation.report.certificate import certificate_markdown, outcome
from eat.traces.replay import replay
from eat.traces.trace import Trace
from tests.made.traces import as_runs, make_run

pytestmark = pytest.mark.usefixtures("no_bootstrap")
THRESHOLDS = {"confidence": [0.6, 0.7, 0.8, 0.9, 0.94, 0.97, 0.99, 0.995, 0.999]}
CONFIDENCE = {"criteria": ["confidence"]}


@pytest.fixture(scope="module")
def run() -> dict[str, Trace]:
    return make_run()


def with_columns(run: dict[str, Trace], **columns: Any) -> dict[str, Trace]:
    """Give each split columns that repeat these values."""
    return {
        split: dataclasses.replace(trace, columns={k: np.resize(np.array(v), len(trace)) for k, v in columns.items()})
        for split, trace in run.items()
    }


def test_groups_by_label_length_and_column(run: dict[str, Trace]) -> None:
    run = with_columns(run, source=["web", "app", "web"], difficulty=[10, 2])
    held_out, trace = run["threshold"], run["certification"]
    by_label = groups_of(trace, "label", held_out)
    assert by_label.names == ("no", "yes") and by_label.of.tolist() == trace.labels.tolist()
    by_length = groups_of(trace, "length", held_out)
    short, middle, long = by_length.names
    assert (short, middle, long) == ("1 to 12 tokens", "13 to 16 tokens", "17 tokens or more")
    assert sorted(set(trace.lengths[by_length.of == 1].tolist())) == [13, 14, 15, 16]
    assert sum(by_length.sizes) == 1500 and min(by_length.sizes) > 400
    assert groups_of(trace, "source", held_out).names == ("app", "web")
    assert groups_of(trace, "source", held_out).sizes == [500, 1000]
    assert groups_of(trace, "difficulty", held_out).names == ("2", "10"), "numbers are in their order"
    assert groups_of(trace, None, held_out).sizes == [1500]
    with pytest.raises(ValueError, match=r"certify.by: expected one of \['label', .* got 'sorce' \(did you mean 'sour"):
        groups_of(trace, "sorce", held_out)


def test_lengths_that_are_all_one_are_one_or_two_groups(run: dict[str, Trace]) -> None:
    kept = run["certification"].tokens_kept.copy()
    kept[:, 0] = 12
    trace = dataclasses.replace(run["certification"], tokens_kept=kept)
    assert groups_of(trace, "length", trace).names == ("1 to 12 tokens", "13 tokens or more")
    assert groups_of(trace, "length", trace).sizes == [1500, 0]


def test_results_are_those_of_each_group_alone() -> None:
    generator = np.random.default_rng(0)
    rates = np.array([[0.0, 0.02, 0.06, 0.1, 0.3]]).T
    draws = generator.random((5, 300))
    losses = np.where(draws < rates, 1.0, np.where(draws > 0.96, -1.0, 0.0))
    groups = Groups(("a", "b", "c"), generator.integers(0, 3, size=300))
    test = SignedTest(0.1, 0.9)
    for point, row in zip(results_of(losses, groups, test), losses, strict=True):
        for place, group in enumerate(point):
            part = row[groups.of == place]
            lost, gained = np.array((part > 0).sum()), np.array((part < 0).sum())
            assert (group.examples, group.lost, group.gained) == (len(part), lost, gained)
            assert group.mean == pytest.approx(part.mean())
            assert group.p_value == pytest.approx(float(test.p_value(lost, len(part), gained)))
    passing = [all(group.passes for group in point) for point in results_of(losses, groups, test)]
    assert pass_in_all(losses, groups, test).tolist() == passing and 0 < sum(passing) < 5
    assert results_of(losses, groups, ExpectationBound(0.1))[0][0].p_value is None


def test_the_level_holds_for_all_groups_together_without_being_split() -> None:
    """One point of two is too risky in one of three groups, just; it must pass in 5 % of the draws and no more."""
    draws, sizes, bound = 2000, (300, 500, 700), 0.03
    generator = np.random.default_rng(1)
    risks = np.array([[0.002, 0.002, 0.002], [0.002, bound, 0.002]])  # points, groups
    lost = generator.binomial(sizes, risks, size=(draws, 2, 3))
    test = BinomialTest(bound, 0.95)
    passes = np.stack([test.passes(lost[..., g], size) for g, size in enumerate(sizes)]).all(axis=0)
    wrong = (certified_prefix(passes) == 2).sum()
    assert wrong <= stats.binom.ppf(0.999, draws, 0.05)
    assert wrong > draws * 0.05 / 3 + 20, "a level split between three groups would pass a third as often"


@pytest.mark.parametrize("method", METHODS)
def test_a_point_is_certified_only_where_every_group_passes(method: str, run: dict[str, Trace]) -> None:
    """A group of 500 texts whose early answers are all wrong is a third of all, and lets no early exit pass."""
    run = with_columns(run, source=["web", "app", "web"])
    settings = CertifySettings(max_drop=0.04, method=method, **CONFIDENCE)
    whole = make_certificate(as_runs(a=run), settings, THRESHOLDS)
    parted = make_certificate(as_runs(a=run), dataclasses.replace(settings, by="source"), THRESHOLDS)
    assert whole.certificate and parted.certificate and not whole.groups
    assert parted.certificate.average_depth >= whole.certificate.average_depth
    assert parted.certificate.groups == {"app": 500, "web": 1000} and parted.certificate.by == "source"
    trace = run["certification"]
    losses = accuracy_gap(replay(trace, parted.certificate.exit).logits, trace.full_depth, trace.labels)
    web = trace.columns["source"] == "web"
    for group, rows in zip(parted.groups, (~web, web), strict=True):
        assert group.examples == rows.sum() and group.mean >= losses[rows].mean() and group.passes
    spoilt = trace.all_logits.copy()
    spoilt[~web, :2] *= -1
    broken = run | {"certification": dataclasses.replace(trace, all_logits=spoilt)}
    refused = make_certificate(as_runs(a=broken), dataclasses.replace(settings, by="source"), THRESHOLDS)
    assert refused.certificate is None and refused.refusal and refused.refusal.group
    assert refused.refusal.group.name == "app" and "of 500 examples of group app" in outcome(refused)
    assert refused.to_json()["refusal"]["group"]["name"] == "app"


def test_the_report_has_a_table_of_groups_and_names_them(run: dict[str, Trace]) -> None:
    result = make_certificate(as_runs(a=run), CertifySettings(max_drop=0.04, by="label", **CONFIDENCE), THRESHOLDS)
    text = certificate_markdown(result)
    assert "# Certificate: accuracy_gap at most 4 % in each group by label, 95 % confidence" in text
    assert "in each of the groups by label (no, yes), at most 4 % of texts are answered right" in text
    assert "## By label" in text and "intersection-union test" in text
    values = result.to_json()
    assert [group["name"] for group in values["groups"]] == ["no", "yes"]
    assert sum(group["examples"] for group in values["groups"]) == 1500
    assert values["certificate"]["groups"] == {g["name"]: g["examples"] for g in values["groups"]}
    assert values["tested"][-2]["p_value"] == max(group["p_value"] for group in values["groups"])


def test_without_groups_nothing_new_is_written(run: dict[str, Trace]) -> None:
    values = make_certificate(as_runs(a=run), CertifySettings(max_drop=0.04, **CONFIDENCE), THRESHOLDS).to_json()
    assert "groups" not in values and not {"by", "reference"} & values["settings"].keys()
    assert not {"by", "groups"} & values["certificate"].keys() and "guarantee" not in values


def test_a_guarantee_in_expectation_says_so_everywhere(run: dict[str, Trace]) -> None:
    settings = CertifySettings(max_drop=0.04, method="conformal_risk_control", by="label", **CONFIDENCE)
    result = make_certificate(as_runs(a=run), settings, THRESHOLDS)
    said = "in expectation over draws of the certification split and new texts, not with a confidence for this draw"
    assert "Each group's bound holds in expectation." in certificate_markdown(result)
    half = "may pass the bound in nearly half of all draws"
    for text in (result.to_json()["guarantee"], certificate_markdown(result)):
        assert said in text and half in text


@pytest.mark.parametrize(("method", "least"), [("pareto_testing", 74), ("conformal_risk_control", 24)])
def test_a_group_that_is_too_small_is_refused_with_the_least_that_would_do(
    method: str, least: int, run: dict[str, Trace]
) -> None:
    settings = CertifySettings(max_drop=0.04, method=method, by="source", **CONFIDENCE)
    for size in (0, least - 1, least):
        columns = {split: np.repeat(["app", "web"], [size, len(run[split]) - size]) for split in run}
        columns["threshold"][:] = ["app", *["web"] * 399]
        parted = {split: dataclasses.replace(run[split], columns={"source": columns[split]}) for split in run}
        if size == least:
            make_certificate(as_runs(a=parted), settings, THRESHOLDS)
            continue
        with pytest.raises(
            ValueError,
            match=rf"group 'app' of source has {size} examples in the certification split; certifying 0.04 .* takes at "
            rf"least {least} of each group",
        ):
            make_certificate(as_runs(a=parted), settings, THRESHOLDS)


def test_a_class_that_the_split_lacks_is_refused(run: dict[str, Trace]) -> None:
    task = dataclasses.replace(run["certification"].task, label_names=("no", "yes", "maybe"), num_labels=3)
    three = {split: dataclasses.replace(trace, task=task) for split, trace in run.items()}
    with pytest.raises(ValueError, match=r"group 'maybe' of label has 0 examples .* takes at least 74 of each group"):
        make_certificate(as_runs(a=three), CertifySettings(max_drop=0.04, by="label"), THRESHOLDS)
