"""What a guard knows in Prometheus' text format 0.0.4, without its client library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from eat.monitoring.watch import Watch
from eat.traces.profile import BINS, QUANTITIES, upper_edges

Sample = tuple[str, dict[str, str], float]
"""What follows the family's name (as in ``_bucket``), labels and value."""


def exposition(watches: Mapping[str, Watch]) -> str:
    """Write counters, gauges and histograms of each source.

    Args:
        watches: By source.
    """
    lines = []
    for name, (kind, text, samples) in _FAMILIES.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        for source, watch in watches.items():
            lines += [
                _line(name + suffix, {"source": source} | labels, float(v)) for suffix, labels, v in samples(watch)
            ]
    return "\n".join(lines) + "\n"


def _exits(watch: Watch) -> Iterator[Sample]:
    for (reason, depth), count in sorted(watch.reasons.items()):
        yield "", {"reason": reason, "depth": str(depth)}, count


def _alarms(watch: Watch) -> Iterator[Sample]:
    yield "", {}, watch.alarms


def _fired(watch: Watch) -> Iterator[Sample]:
    yield "", {}, watch.fired


def _martingale(watch: Watch) -> Iterator[Sample]:
    if watch.test is not None:
        for quantity, value in watch.test.martingales.items():
            yield "", {"quantity": quantity}, value
        yield "", {"quantity": "all"}, watch.test.martingale


def _threshold(watch: Watch) -> Iterator[Sample]:
    if watch.test is not None:
        yield "", {}, watch.test.threshold


def _examples(watch: Watch) -> Iterator[Sample]:
    if watch.test is not None:
        yield "", {}, watch.test.examples


def _percentiles(watch: Watch) -> Iterator[Sample]:
    for quantity, both in watch.percentiles().items():
        for answers, values in both.items():
            for percentile, value in values.items():
                yield "", {"quantity": quantity, "answers": answers, "percentile": percentile}, value


def _histogram(watch: Watch, quantity: str) -> Iterator[Sample]:
    row = QUANTITIES.index(quantity)
    counts, edges = watch.histogram[row].cumsum(), upper_edges()[row]
    for place in range(watch.num_layers) if quantity == "depth" else _BUCKETS[quantity]:
        yield "_bucket", {"le": _number(float(edges[place]))}, counts[place]
    yield "_bucket", {"le": "+Inf"}, counts[-1]
    yield "_sum", {}, watch.sums[row]
    yield "_count", {}, counts[-1]


# Every fourth bin is enough for a dashboard. The last bin has no upper edge, but that of retention, which ends at 1.
_BUCKETS = {
    "confidence": range(3, BINS - 1, 4),
    "retention": range(3, BINS, 4),
    "length": range(0, BINS - 1, 4),
}

_FAMILIES: dict[str, tuple[str, str, Callable[[Watch], Iterator[Sample]]]] = {
    "eat_exits_total": ("counter", "Answers, by why and where they came", _exits),
    "eat_drift_alarms_total": ("counter", "Times that the test of drift fired", _alarms),
    "eat_drift_fired": ("gauge", "1 from when the test fired until it is reset", _fired),
    "eat_drift_martingale": ("gauge", "Evidence of drift by quantity; their average (all) fires", _martingale),
    "eat_drift_threshold": ("gauge", "Average at which the test fires", _threshold),
    "eat_drift_examples": ("gauge", "Answers tested since the last start", _examples),
    "eat_percentile": ("gauge", "Percentiles of certified and of recent answers", _percentiles),
    "eat_exit_depth": ("histogram", "Depth at which examples left", partial(_histogram, quantity="depth")),
    "eat_confidence": (
        "histogram",
        "Probability of the class answered; 0 where logits are NaN or infinite",
        partial(_histogram, quantity="confidence"),
    ),
    "eat_retention": (
        "histogram",
        "Tokens that the last executed block worked on / tokens that came in",
        partial(_histogram, quantity="retention"),
    ),
    "eat_input_tokens": ("histogram", "Tokens that came in", partial(_histogram, quantity="length")),
}


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(int(value)) if value.is_integer() else repr(value)
