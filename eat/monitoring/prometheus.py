"""Export what monitors count in Prometheus' text format 0.0.4 (by ``prometheus_client``, an extra)."""

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


_RISK_COUNTERS = {
    "answers": ("eat_risk_answers", "Answers of which a share is audited"),
    "audits": ("eat_risk_audits", "Answers compared with full depth since the last start"),
    "losses": ("eat_risk_losses", "Of these, those that differ"),
    "alarms": ("eat_risk_alarms", "Times that the test of the bound fired"),
}
_RISK_GAUGES = {
    "bound": ("eat_risk_bound", "Share of answers that may differ"),
    "e_value": ("eat_risk_e_value", "Evidence against the bound"),
    "threshold": ("eat_risk_threshold", "Evidence at which the test fires"),
    "fired": ("eat_risk_fired", "1 from when the test fired until it is reset"),
    "interval": ("eat_risk_interval", "Ends of the interval for the share that differs, valid at all times", "end"),
}


def exposition(watches: Mapping[str, Watch]) -> str:
    """Write counters, gauges and histograms of each source."""
    families = _families(_COUNTERS, _GAUGES, _HISTOGRAMS, labels=("source",))
    for source, watch in watches.items():
        _add(families, source, watch)
    return _text(families)


def risk_exposition(report: Mapping[str, Any]) -> str:
    """Write counters and gauges of what a risk monitor reports."""
    families = _families(_RISK_COUNTERS, _RISK_GAUGES, {})
    for key, family in families.items():
        if key == "interval":
            for end, value in zip(("low", "high"), report[key], strict=True):
                family.add_metric((end,), value)
        else:
            family.add_metric((), report[key])
    return _text(families)


def _families(
    counters: Mapping[str, Any], gauges: Mapping[str, Any], histograms: Mapping[str, Any], labels: tuple[str, ...] = ()
) -> dict[str, Any]:
    try:
        from prometheus_client import core
    except ImportError:
        raise ImportError(
            "prometheus: prometheus_client is not installed: pip install 'eat-transformers[monitoring]'"
        ) from None
    kinds = (
        (core.CounterMetricFamily, counters),
        (core.GaugeMetricFamily, gauges),
        (core.HistogramMetricFamily, histograms),
    )
    return {
        key: kind(name, text, labels=(*labels, *more))
        for kind, table in kinds
        for key, (name, text, *more) in table.items()
    }


def _text(families: Mapping[str, Any]) -> str:
    from prometheus_client import generate_latest

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
