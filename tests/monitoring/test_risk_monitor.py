"""The monitor around a model: it answers as the model does, audits a share, and raises an alarm."""

import json
import sys
from typing import Any

import pytest
import torch

from eat.models.rules import SufficientRule
from eat.monitoring import DriftGuard, RiskMonitor
from eat.packed import AdaptiveOutput
from tests.made.guarded import NEVER, PRUNER, answer, certificate_for, equal, make_model, padded
from tests.made.models import EXIT, Batch, make_batches


@pytest.fixture
def promised(model: Any) -> Any:
    """Return a model that is certified to differ from full depth in at most 2 % of its answers, far from the truth."""
    model.config.certificate |= {"loss": "inconsistency", "bound": 0.02}
    return model


def differing(model: Any, batches: list[Batch]) -> int:
    both = [(answer(model, batch).logits, answer(model, batch, NEVER).logits) for batch in batches]
    return sum(int((one.argmax(1) != full.argmax(1)).sum()) for one, full in both)


def test_it_answers_as_the_model_and_counts_what_differs(promised: Any) -> None:
    monitor, batches = RiskMonitor(promised, audit=1.0), make_batches(60, 20, seed=3)
    for batch in batches:
        equal(monitor(*padded(batch)), answer(promised, batch))
    report = monitor.report()
    assert report["answers"] == report["audits"] == 60
    assert 0 < report["losses"] == differing(promised, batches) and report["bound"] == 0.02
    assert promised.config.certificate is not None and promised.config.exit == EXIT


def test_a_share_is_audited_whatever_the_batches(promised: Any) -> None:
    whole, parts = (RiskMonitor(promised, audit=0.3, seed=1) for _ in range(2))
    (batch,) = make_batches(200, 200, seed=4)
    whole(batch["input_ids"], lengths=batch["lengths"])
    start = 0
    for lengths in batch["lengths"].split([1, 50, 149]):
        end = start + int(lengths.sum())
        parts(batch["input_ids"][start:end], lengths=lengths.tolist())
        start = end
    assert whole.report() == parts.report()
    assert 40 < whole.report()["audits"] < 80
    other = RiskMonitor(promised, audit=0.3, seed=2)
    other(batch["input_ids"], lengths=batch["lengths"])
    assert other.report()["audits"] != whole.report()["audits"]


def test_a_promise_that_is_not_kept_raises_one_alarm(promised: Any, caplog: pytest.LogCaptureFixture) -> None:
    monitor = RiskMonitor(promised, audit=1.0)
    for batch in make_batches(200, 20, seed=5):
        monitor(*padded(batch))
    report = monitor.report()
    assert monitor.fired and report["alarms"] == 1 and report["interval"][0] > 0.02
    assert caplog.text.count("answers differ from full depth more often than the bound of 0.02") == 1
    monitor.reset()
    assert not monitor.fired and monitor.report()["audits"] == 0 and monitor.report()["answers"] == 200


def test_full_depth_keeps_every_promise(batch: Batch) -> None:
    monitor = RiskMonitor(make_model(exit=NEVER), audit=1.0, bound=0.02)
    for _ in range(10):
        monitor(*padded(batch))
    assert monitor.report()["losses"] == 0 and not monitor.fired and monitor.report()["e_value"] < 1


def test_answers_of_a_guard_are_audited(promised: Any, batch: Batch) -> None:
    guard, monitor = DriftGuard(promised), RiskMonitor(promised, audit=1.0)
    assert monitor.audit(guard(*padded(batch)), *padded(batch)) == monitor.fired
    assert monitor.report()["losses"] == differing(promised, [batch])
    broken = AdaptiveOutput(logits=torch.full((16, 2), float("nan"), dtype=torch.float64))
    monitor.reset()
    monitor.audit(broken, *padded(batch))
    assert monitor.report()["losses"] == 16, "answers that are not finite are not those of full depth"


def test_what_a_rule_answers_is_audited_against_full_depth(batch: Batch) -> None:
    model = make_model(exit=NEVER)
    weight = torch.randn(model.backbone.dim, generator=torch.Generator().manual_seed(0)).tolist()
    batches = make_batches(60, 20, seed=3)
    full = [answer(model, one).logits.argmax(1) for one in batches]
    model.set_rules([SufficientRule(1, "block", "mean", 1, tuple(weight), 0.0, 0.01, 0.1)])
    monitor = RiskMonitor(model, audit=1.0, bound=0.02)
    served = [monitor(*padded(one)).logits.argmax(1) for one in batches]
    wrong = sum(int((one != truth).sum()) for one, truth in zip(served, full, strict=True))
    assert 0 < wrong == monitor.report()["losses"]
    assert model.rules, "the served model keeps its rules"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda model: model.set_pruner(name="none"), "pruner"),
        (lambda model: model.set_attention(name="windowed", window=4), "attention"),
        (lambda model: model.set_exit(**NEVER), "exit"),
        (lambda model: model.set_temperatures([2.0] * len(model.head_depths)), "heads"),
    ],
)
def test_a_model_with_other_parts_is_another_one(batch: Batch, change: Any, part: str) -> None:
    model = make_model()
    monitor = RiskMonitor(model, audit=1.0, bound=0.02)
    monitor(*padded(batch))
    change(model)
    with pytest.raises(RuntimeError, match=rf"RiskMonitor: the model's {part} changed since this was made; make a new"):
        monitor(*padded(batch))


def test_a_guarantee_in_expectation_is_named(promised: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert "guarantee" not in RiskMonitor(promised).report()
    promised.config.certificate |= {"method": "conformal_risk_control"}
    monitor = RiskMonitor(promised)
    assert "in expectation" in monitor.report()["guarantee"] and "nearly half of all draws" in caplog.text
    assert "guarantee" not in RiskMonitor(promised, bound=0.02).report()


def test_the_full_depth_is_the_one_that_the_certificate_is_about(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a variant certified against another pruning of the same weights."""
    model = make_model(exit=NEVER)
    more = {"loss": "inconsistency", "bound": 0.02, "fallback": {"pruner": {"name": "none"}}}
    model.config.certificate = certificate_for(model, **more)
    asked: list[Any] = []
    forward = type(model).forward
    monkeypatch.setattr(
        type(model), "forward", lambda self, *a, **k: asked.append(self.config.pruner["name"]) or forward(self, *a, **k)
    )
    RiskMonitor(model, audit=1.0)(*padded(batch))
    assert asked == [PRUNER["name"], "none"]


def test_a_restarted_service_goes_on_with_its_test(promised: Any) -> None:
    batches = make_batches(120, 20, seed=8)
    whole, first, second = (RiskMonitor(promised, audit=0.5, seed=seed) for seed in (0, 0, 9))
    for batch in batches:
        whole(*padded(batch))
    for batch in batches[:3]:
        first(*padded(batch))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for batch in batches[3:]:
        second(*padded(batch))
    assert second.report() == whole.report() and second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"model": "abc"}, r"state\['model'\]: expected this monitor's .*, got 'abc'"),
        ({"audit": 0.5}, r"state\['audit'\]: expected this monitor's 0.01, got 0.5"),
        ({"answers": -1}, r"state\['answers'\]: expected an integer of 0 or more, got -1"),
        ({"generator": {"bit_generator": "MT"}}, r"state: expected a generator's state and a test's"),
        ({"test": {}}, r"state: expected a generator's state and a test's, got state: expected a mapping"),
        ({"more": 1}, r"state: expected a mapping with the keys"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broken_state_is_refused_whole(promised: Any, spoil: dict[str, Any], message: str) -> None:
    monitor = RiskMonitor(promised)
    before = json.loads(json.dumps(monitor.state_dict()))
    with pytest.raises(ValueError, match=message):
        monitor.load_state_dict(before | spoil)
    assert monitor.state_dict() == before


def test_what_cannot_be_monitored_is_refused(promised: Any, batch: Batch) -> None:
    with pytest.raises(ValueError, match=r"audit: expected a number in \(0, 1\], got 0"):
        RiskMonitor(promised, audit=0)
    with pytest.raises(ValueError, match=r"bound: expected a number in \(0, 1\), got 1"):
        RiskMonitor(promised, bound=1)
    with pytest.raises(ValueError, match=r"seed: expected an integer of 0 or more, got -1"):
        RiskMonitor(promised, seed=-1)
    with pytest.raises(ValueError, match=r"model: expected a certified one, got none"):
        RiskMonitor(make_model())
    promised.config.certificate |= {"loss": "accuracy_gap"}
    with pytest.raises(ValueError, match=r"certificate about inconsistency, .* got one about 'accuracy_gap'"):
        RiskMonitor(promised)
    promised.config.certificate |= {"loss": "inconsistency", "fallback": {"pruner": None}}
    with pytest.raises(ValueError, match=r"this certificate's reference is another model"):
        RiskMonitor(promised)
    with pytest.raises(RuntimeError, match=r"expected the model in evaluation mode"):
        RiskMonitor(make_model().train(), bound=0.1)
    monitor = RiskMonitor(promised, bound=0.02, audit=1.0)
    with pytest.raises(ValueError, match=r"output: expected logits for each of the 16 rows, got 3"):
        monitor.audit(AdaptiveOutput(logits=torch.zeros(3, 2)), *padded(batch))
    with pytest.raises(ValueError, match=r"output: expected logits for each of the 16 rows, got none"):
        monitor.audit(AdaptiveOutput(), *padded(batch))
    assert monitor.report()["answers"] == 0
    promised.set_exit(**NEVER)
    with pytest.raises(RuntimeError, match=r"RiskMonitor: the model is no longer certified as when this was made"):
        monitor(*padded(batch))


def test_the_text_for_prometheus_has_the_reports_numbers(
    promised: Any, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    monitor = RiskMonitor(promised, audit=0.5)
    monitor(*padded(batch))
    report = monitor.report()
    read = {family.name: family for family in parser.text_string_to_metric_families(monitor.prometheus())}
    for key in ("answers", "audits", "losses", "alarms", "bound", "e_value", "threshold", "fired"):
        family = read[f"eat_risk_{key}"]
        assert family.type == ("counter" if key in ("answers", "audits", "losses", "alarms") else "gauge")
        assert [sample.value for sample in family.samples] == [report[key]]
    ends = {sample.labels["end"]: sample.value for sample in read["eat_risk_interval"].samples}
    assert ends == dict(zip(("low", "high"), report["interval"], strict=True))
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"pip install 'eat-transformers\[monitoring\]'"):
        monitor.prometheus()
