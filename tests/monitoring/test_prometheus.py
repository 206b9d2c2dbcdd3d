"""The text is what Prometheus' own parser reads, and its numbers are the guard's."""

import math
import sys

import pytest
import torch

from eat.monitoring import DriftGuard
from tests.made.models import make_batches

parser = pytest.importorskip("prometheus_client.parser")
ODD = 'a "quoted" \\ back\nslash'


@pytest.fixture
def guard(model):
    guard = DriftGuard(model, sources={ODD: {"name": "never"}})
    for batch in make_batches(100, 20, seed=3):
        guard(batch["input_ids"], lengths=batch["lengths"])
    batch = make_batches(20, 20, seed=4)[0]
    guard(batch["input_ids"], lengths=batch["lengths"], source=ODD)
    return guard


def families(guard):
    text = guard.prometheus()
    assert text.endswith("\n")
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def values(family, **labels):
    return [s.value for s in family.samples if labels.items() <= s.labels.items()]


def test_counters_and_gauges(guard):
    read, report = families(guard), guard.report()["default"]
    exits = read["eat_exits"]
    assert exits.type == "counter" and exits.documentation
    assert sum(values(exits, source="default")) == 100
    for key, count in report["reasons"].items():
        reason, depth = key.split(" at depth ")
        assert values(exits, source="default", reason=reason, depth=depth) == [count]
    assert values(exits, source=ODD) == [20], "labels are escaped"
    martingale = read["eat_drift_martingale"]
    assert martingale.type == "gauge"
    assert values(martingale, quantity="all") == [report["test"]["martingale"]]
    assert values(martingale, quantity="length") == [report["test"]["martingales"]["length"]]
    assert values(read["eat_drift_fired"]) == [0, 0]
    assert values(read["eat_drift_alarms"]) == [0, 0]
    assert values(read["eat_drift_threshold"]) == [100] and values(read["eat_drift_examples"]) == [100]
    expected = report["percentiles"]["retention"]["certified"]["50"]
    labels = {"source": "default", "quantity": "retention", "answers": "certified", "percentile": "50"}
    assert values(read["eat_percentile"], **labels) == [expected]


@pytest.mark.parametrize("name", ["eat_exit_depth", "eat_confidence", "eat_retention", "eat_input_tokens"])
def test_histograms_are_cumulative(guard, name):
    family = families(guard)[name]
    assert family.type == "histogram"
    samples = [s for s in family.samples if s.labels["source"] == "default"]
    buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets) and len({le for le, _ in buckets}) == len(buckets)
    assert buckets[-1] == (math.inf, 100)
    assert [s.value for s in samples if s.name.endswith("_count")] == [100]


def test_buckets_hold_what_they_say(guard, model):
    with torch.inference_mode():
        outputs = [model(b["input_ids"], lengths=b["lengths"]) for b in make_batches(100, 20, seed=3)]
    seen = {
        "eat_exit_depth": torch.cat([o.exit_depth for o in outputs]).double(),
        "eat_confidence": torch.cat([o.logits for o in outputs]).softmax(-1).amax(-1),
        "eat_retention": torch.cat(
            [o.tokens_kept.gather(1, o.exit_depth[:, None] - 1)[:, 0] / o.tokens_kept[:, 0] for o in outputs]
        ).double(),
        "eat_input_tokens": torch.cat([o.tokens_kept[:, 0] for o in outputs]).double(),
    }
    read = families(guard)
    for name, numbers in seen.items():
        samples = [s for s in read[name].samples if s.labels["source"] == "default"]
        for sample in samples:
            if sample.name.endswith("_bucket"):
                assert sample.value == (numbers <= float(sample.labels["le"])).sum()
        assert [s.value for s in samples if s.name.endswith("_sum")] == pytest.approx([float(numbers.sum())], rel=1e-6)
    assert 0 < values(read["eat_exit_depth"], source="default", le="1")[0] < 100


def test_without_the_client_it_says_what_to_install(guard, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"pip install 'eat-transformers\[monitoring\]'"):
        guard.prometheus()
    assert guard.report()["default"]["watched"]
