import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.ops.confidence import agreeing_heads, margin, max_probability, normalised_entropy

rows = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(st.floats(-8, 8), min_size=n, max_size=n), min_size=1, max_size=4)
)


def probabilities(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


@given(rows)
def test_scores_by_hand(logits):
    tensor = torch.tensor(logits, dtype=torch.float64)
    for i, row in enumerate(logits):
        p = sorted(probabilities(row), reverse=True)
        entropy = -sum(x * math.log(x) for x in p if x) / math.log(len(p))
        assert float(max_probability(tensor)[i]) == pytest.approx(p[0])
        assert float(margin(tensor)[i]) == pytest.approx(p[0] - p[1], abs=1e-12)
        assert float(normalised_entropy(tensor)[i]) == pytest.approx(entropy, abs=1e-12)


def test_the_extremes():
    sure, unsure = torch.tensor([[50.0, -50.0, -50.0]]), torch.zeros(1, 3)
    assert max_probability(sure).item() == 1.0 and max_probability(unsure).item() == pytest.approx(1 / 3)
    assert margin(sure).item() == 1.0 and margin(unsure).item() == 0.0
    assert normalised_entropy(sure).item() == pytest.approx(0.0)
    assert normalised_entropy(unsure).item() == pytest.approx(1.0)


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 150])
def test_no_entropy_is_above_1(classes):
    """Before the clamp some hundreds of these came out above it."""
    logits = 1e-4 * torch.randn(10_000, classes, generator=torch.Generator().manual_seed(0))
    assert normalised_entropy(logits).max().item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_float32(dtype):
    logits = torch.tensor([[1.3, -0.7]], dtype=dtype)
    for score in (max_probability, margin, normalised_entropy):
        assert score(logits).dtype == torch.float32
        assert torch.equal(score(logits), score(logits.float()))


def history(*predictions):
    """Logits of heads (rows) that predict these classes for each example (columns)."""
    return torch.nn.functional.one_hot(torch.tensor(predictions), 3).double()


def test_agreeing_heads_is_pabees_counter():
    assert agreeing_heads(history([0, 1, 2])).tolist() == [0, 0, 0]
    assert agreeing_heads(history([0, 1, 2], [0, 2, 2])).tolist() == [1, 0, 1]
    assert agreeing_heads(history([0, 1, 2], [0, 2, 2], [0, 1, 2])).tolist() == [2, 0, 2]
    assert agreeing_heads(history([0, 1, 1], [1, 1, 2], [1, 1, 1], [1, 1, 1])).tolist() == [2, 3, 1]
