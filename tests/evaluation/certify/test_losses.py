"""Losses by hand, and what their bound says of the accuracy."""

import numpy as np
import pytest

from eat.evaluation.certify.losses import RISKS, accuracy_drop, accuracy_gap, brier_gap, inconsistency

# Full depth: right, right, wrong, wrong; the exits: right, wrong, right, wrong in another way.
LABELS = np.array([0, 0, 0, 0])
FULL = np.log([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
EXITS = np.log([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])


def test_by_hand() -> None:
    assert accuracy_gap(EXITS, FULL, LABELS).tolist() == [0, 1, 0, 0]
    assert accuracy_drop(EXITS, FULL, LABELS).tolist() == [0, 1, -1, 0]
    assert inconsistency(EXITS, FULL, LABELS).tolist() == [0, 1, 1, 1]
    # (0.4^2 + 2 * 0.2^2 - 0.2^2 - 2 * 0.1^2) / 2; (0.9^2 + 0.8^2 + 0.1^2 - 0.06) / 2; better; the same
    np.testing.assert_allclose(brier_gap(EXITS, FULL, LABELS), [0.09, 0.7, 0, 0], atol=1e-12)


@pytest.mark.parametrize("name", RISKS)
def test_losses_lie_between_0_and_1_and_full_depth_loses_nothing(name: str) -> None:
    generator = np.random.default_rng(0)
    logits, full = generator.normal(size=(2, 500, 3)) * 20
    labels = generator.integers(0, 3, size=500)
    risk = RISKS[name]
    losses = risk.loss(logits, full, labels)
    assert losses.min() >= (-1 if risk.is_signed else 0) and losses.max() <= 1
    assert set(np.unique(losses)) == {0.0, 1.0} or not risk.is_binary
    assert not risk.loss(full, full, labels).any()


def test_every_bound_is_a_bound_on_what_the_accuracy_loses() -> None:
    generator = np.random.default_rng(1)
    full = generator.normal(size=(500, 3))
    logits, labels = full + generator.normal(size=(500, 3)), generator.integers(0, 3, size=500)
    drop = (full.argmax(1) == labels).mean() - (logits.argmax(1) == labels).mean()
    gap = accuracy_gap(logits, full, labels)
    improved = ((full.argmax(1) != labels) & (logits.argmax(1) == labels)).mean()
    assert drop == pytest.approx(gap.mean() - improved)
    assert (gap <= inconsistency(logits, full, labels)).all()
    assert drop == pytest.approx(accuracy_drop(logits, full, labels).mean())


def test_inconsistency_reads_no_labels() -> None:
    other = np.array([2, 1, 1, 2])
    np.testing.assert_array_equal(inconsistency(EXITS, FULL, LABELS), inconsistency(EXITS, FULL, other))
