"""NumPy's exits and pruning decide as torch's do, on random histories and rows."""

import numpy as np
import pytest
import torch

from eat.deployment.encoding import kept_lengths
from eat.deployment.exits import CRITERIA, leaves, sets_as_classes, sigmoid
from eat.deployment.pruning import rounded
from eat.exits import EXITS
from eat.exits.points import OperatingPoint
from eat.ops.confidence import sets_as_classes as in_torch
from eat.ops.selection import rounded_scores

POINTS = [
    *({"name": name} for name in EXITS),
    *({"name": name, "threshold": 0.55, "veto_margin": 0.2} for name in CRITERIA if name != "difference"),
    *({"name": name, "patience": 2, "threshold": 0.6} for name in ("patience", "patience_confidence", "difference")),
    {"name": "confidence", "threshold": [0.4, 0.6, 0.9]},
    {"name": "entropy_reduction", "threshold": 0.0},
]


@pytest.mark.parametrize("spec", POINTS, ids=str)
def test_every_criterion_decides_as_with_torch(spec: dict) -> None:
    generator = np.random.default_rng(0)
    point, decided = OperatingPoint.of(spec), []
    for heads in (1, 2, 4):
        history = generator.normal(0, 1.5, (heads, 300, 1 if spec["name"] == "difference" else 3)).astype(np.float32)
        history[0, 0] = history[-1, 1] = np.nan
        history[:, 2:40] = history[:1, 2:40] + generator.normal(0, 0.1, (heads, 38, 1)).astype(np.float32)
        ours = leaves(point.spec, history)
        np.testing.assert_array_equal(ours, point.build()(torch.from_numpy(history)).numpy())
        decided.append(ours)
    together = np.concatenate(decided)
    assert spec["name"] == "never" or (together.any() and not together.all())


def test_sets_of_labels_are_read_as_with_torch() -> None:
    history = np.random.default_rng(0).normal(0, 1.5, (4, 300, 3)).astype(np.float32)
    history[0, 0] = history[-1, 1, 2] = np.nan
    history[1:, 2:40] = history[:1, 2:40] * np.float32(0.5)
    history[1, 40] = 0.0
    np.testing.assert_array_equal(sets_as_classes(history), in_torch(torch.from_numpy(history)).numpy())
    logits = np.linspace(-120, 120, 999, dtype=np.float32)
    np.testing.assert_allclose(sigmoid(logits), torch.from_numpy(logits).sigmoid().numpy(), rtol=1e-6, atol=1e-30)


def test_all_criteria_are_there() -> None:
    assert {"never", *CRITERIA} == set(EXITS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_rounded_as_with_torch(dtype: type) -> None:
    scores = np.random.default_rng(0).normal(1, 0.3, 999).astype(dtype)
    scores[:3] = 1, 0, -2.5
    np.testing.assert_array_equal(rounded(scores), rounded_scores(torch.from_numpy(scores)).numpy())


@pytest.mark.parametrize("lengths", [[3], [30], [3, 9], [20, 2], [30, 40]], ids=str)
def test_texts_are_truncated_as_in_training(lengths: list[int]) -> None:
    from eat.data.encoding import kept_lengths as in_training

    assert kept_lengths(lengths, 7) == in_training(lengths, 7)
