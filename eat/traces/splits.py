"""How the split of a certificate differs from a reported one: a guarantee is about texts like those it was made on."""

import hashlib
from typing import Any

import numpy as np
from scipy import stats

from eat.traces.quality import predictions
from eat.traces.statistics import wilson_interval
from eat.traces.trace import Trace

SIGNIFICANT = 0.05


def split_fingerprint(trace: Trace) -> str:
    """Name the examples of a split by their labels and lengths, in order: the same in every run that holds them out."""
    digest = hashlib.sha256(trace.split.encode())
    digest.update(np.ascontiguousarray(trace.labels.astype("<f8")).tobytes())
    digest.update(np.ascontiguousarray(trace.lengths.astype("<i8")).tobytes())
    return digest.hexdigest()[:16]


def compare_splits(ours: Trace, reported: Trace) -> dict[str, Any]:
    """Compare lengths (Mann-Whitney U) and full-depth accuracy (Fisher's exact test) of two splits.

    Args:
        ours: The certification split.
        reported: The split that results are reported on.

    Returns:
        Facts of both, the p-values, and in which respects they differ (p below `SIGNIFICANT`); JSON values only.
    """
    facts = [_facts(trace) for trace in (ours, reported)]
    table = [[f["right"], f["examples"] - f["right"]] for f in facts]
    p_values = {
        "length": float(stats.mannwhitneyu(ours.lengths, reported.lengths).pvalue),
        "full-depth accuracy": float(stats.fisher_exact(table).pvalue),
    }
    return {
        "splits": facts,
        "p_values": p_values,
        "differs_in": [name for name, p_value in p_values.items() if p_value < SIGNIFICANT],
    }


def _facts(trace: Trace) -> dict[str, Any]:
    right = int((predictions(trace.full_depth) == trace.labels).sum())
    return {
        "name": trace.split,
        "examples": len(trace),
        "mean_length": float(trace.lengths.mean()),
        "length_percentiles": {str(q): float(np.percentile(trace.lengths, q)) for q in (5, 50, 95)},
        "right": right,
        "full_depth_accuracy": right / len(trace),
        "accuracy_interval": list(wilson_interval(right, len(trace))),
    }
