"""Export a drift guard's counts in Prometheus' text format 0.0.4 (by ``prometheus_client``, an extra)."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from eat.monitoring.watch import Watch
from eat.traces.profile import BINS, QUANTITIES, upper_edges

_COUNTERS = {
    "exits": ("eat_exits", "Answers, by why and where they came", "reason", "depth"),
    "alarms": ("eat_drift_alarms", "Times that the test of drift fired"),
}
_PERCENTILE = ("eat_percentile", "Percentiles of certified and of recent answers")
_GAUGES = {
    "fired": ("eat_drift_fired", "1 from when the test fired until it is reset"),
    "martingale": ("eat_drift_martingale", "Evidence of drift by quantity; their average (all) fires", "quantity"),
    "threshold": ("eat_drift_threshold", "Average at which the test fires"),
    "examples": ("eat_drift_examples", "Answers tested since the last start"),
    "percentile": (*_PERCENTILE, "quantity", "answers", "percentile"),
}
_HISTOGRAMS = {
    "depth": ("eat_exit_depth", "Depth at which examples left"),
    "confidence": ("eat_confidence", "Probability of the class answered; 0 where logits are NaN or infinite"),
    "retention": ("eat_retention", "Tokens that the last executed block worked on / tokens that came in"),
    "length": ("eat_input_tokens", "Tokens that came in"),
}
# Every fourth bin is enough for a dashboard. The last bin has no upper edge, but that of retention, which ends at 1.
_BUCKETS = {"confidence": range(3, BINS - 1, 4), "retention": range(3, BINS, 4), "length": range(0, BINS - 1, 4)}


def exposition(watches: Mapping[str, Watch]) -> str:
    """Write counters, gauges and histograms of each source."""
    try:
        from prometheus_client import core, generate_latest
    except ImportError:
        raise ImportError(
            "DriftGuard.prometheus: prometheus_client is not installed: pip install 'eat-transformers[monitoring]'"
        ) from None
    kinds = (
        (core.CounterMetricFamily, _COUNTERS),
        (core.GaugeMetricFamily, _GAUGES),
        (core.HistogramMetricFamily, _HISTOGRAMS),
    )
    families: dict[str, Any] = {
        key: kind(name, text, labels=("source", *labels))
        for kind, table in kinds
        for key, (name, text, *labels) in table.items()
    }
    for source, watch in watches.items():
        _add(families, source, watch)
    collector: Any = SimpleNamespace(collect=families.values)
    return generate_latest(collector).decode()


def _add(families: Mapping[str, Any], source: str, watch: Watch) -> None:
    for (reason, depth), count in sorted(watch.reasons.items()):
        families["exits"].add_metric((source, reason, str(depth)), count)
    families["alarms"].add_metric((source,), watch.alarms)
    families["fired"].add_metric((source,), watch.fired)
    if watch.test is not None:
        for quantity, value in {**watch.test.martingales, "all": watch.test.martingale}.items():
            families["martingale"].add_metric((source, quantity), value)
        families["threshold"].add_metric((source,), watch.test.threshold)
        families["examples"].add_metric((source,), watch.test.examples)
    for quantity, both in watch.percentiles().items():
        for answers, values in both.items():
            for percentile, value in values.items():
                families["percentile"].add_metric((source, quantity, answers, percentile), value)
    for quantity in _HISTOGRAMS:
        row = QUANTITIES.index(quantity)
        counts, edges = watch.histogram[row].cumsum(), upper_edges()[row]
        places = range(watch.num_layers) if quantity == "depth" else _BUCKETS[quantity]
        ends = [*(repr(float(edges[place])).removesuffix(".0") for place in places), "+Inf"]
        buckets = list(zip(ends, counts[[*places, -1]], strict=True))
        families[quantity].add_metric((source,), buckets, watch.sums[row])
