"""Reliability bins and expected calibration error: cases worked by hand and a loop as reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eat.ops.calibration import brier_score, expected_calibration_error, reliability


def loop_ece(confidence: list[float], correct: list[bool], num_bins: int) -> float:
    """The definition, bin by bin."""
    total, edges = 0.0, np.linspace(0.0, 1.0, num_bins + 1)
    for m in range(num_bins):
        low, high = edges[m], edges[m + 1]
        inside = [i for i, c in enumerate(confidence) if low < c <= high or (m == 0 and c == 0.0)]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


def test_two_bins_by_hand() -> None:
    confidence = torch.tensor([0.25, 0.45, 0.75, 0.85, 0.95], dtype=torch.float64)
    correct = torch.tensor([True, False, True, True, False])
    # Bin (0, 0.5]: mean 0.35, accuracy 0.5. Bin (0.5, 1]: mean 0.85, accuracy 2/3.
    expected = 2 / 5 * 0.15 + 3 / 5 * (0.85 - 2 / 3)
    assert expected_calibration_error(confidence, correct, num_bins=2) == pytest.approx(expected)


def test_sure_and_right_is_calibrated() -> None:
    assert expected_calibration_error(torch.ones(7), torch.ones(7, dtype=torch.bool)) == 0.0


def test_sure_and_wrong_is_one() -> None:
    assert expected_calibration_error(torch.ones(7), torch.zeros(7, dtype=torch.bool)) == 1.0


def test_bins_are_open_below_and_closed_above() -> None:
    bins = reliability(torch.tensor([0.0, 0.5, 0.500001, 1.0]), torch.tensor([True, True, False, True]), num_bins=2)
    assert bins.counts.tolist() == [2, 2]
    assert bins.accuracy.tolist() == [1.0, 0.5]


def test_empty_bins_hold_zero() -> None:
    bins = reliability(torch.tensor([0.95]), torch.tensor([True]), num_bins=15)
    assert bins.counts.sum() == 1 and bins.counts[-1] == 1
    assert bins.confidence[:-1].abs().sum() == 0


@settings(max_examples=50, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=40), num_bins=st.integers(1, 20)
)
def test_equals_the_loop(pairs: list[tuple[float, bool]], num_bins: int) -> None:
    # Values on an edge may fall on either side by rounding; keep them off the edges.
    pairs = [(c, r) for c, r in pairs if abs(c * num_bins - round(c * num_bins)) > 1e-9 or c in (0.0, 1.0)]
    if not pairs:
        return
    confidence, correct = [c for c, _ in pairs], [r for _, r in pairs]
    ours = expected_calibration_error(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct), num_bins)
    assert ours == pytest.approx(loop_ece(confidence, correct, num_bins), abs=1e-9)


@pytest.mark.parametrize(
    ("confidence", "num_bins", "message"),
    [([0.5, float("nan")], 15, "confidence"), ([1.2], 15, "confidence"), ([], 15, "at least one"), ([0.5], 0, "bins")],
)
def test_bad_input_is_named(confidence: list[float], num_bins: int, message: str) -> None:
    correct = torch.ones(len(confidence), dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(torch.tensor(confidence), correct, num_bins)


def test_brier_by_hand() -> None:
    probabilities = torch.tensor([[0.8, 0.2], [0.4, 0.6]], dtype=torch.float64)
    assert brier_score(probabilities, torch.tensor([0, 0])) == pytest.approx((0.04 + 0.04 + 0.36 + 0.36) / 2)
    assert brier_score(torch.eye(3), torch.tensor([0, 1, 2])) == 0
    assert brier_score(torch.eye(3), torch.tensor([1, 2, 0])) == 2
