import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.ops.confidence import agreeing_heads, margin, max_probability, normalised_entropy, sets_as_classes

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


def test_a_set_is_as_sure_as_its_least_sure_label_and_agrees_where_the_labels_do():
    heads = torch.randn(5, 200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    heads[:, :20] = heads[:1, :20] * torch.rand(5, 1, 1, generator=torch.Generator().manual_seed(1))
    seen = sets_as_classes(heads)
    for example in range(200):
        same = 0
        for head in range(5):
            p = heads[head, example].sigmoid()
            sure = min(max(float(each), 1 - float(each)) for each in p)
            assert float(max_probability(seen[head, example])) == pytest.approx(sure, abs=1e-12)
            before = heads[head - 1, example].sigmoid() if head else None
            same = same + 1 if head and torch.equal(before > 0.5, p > 0.5) else 0
            assert int(agreeing_heads(seen[: head + 1])[example]) == same
    alone = torch.stack([sets_as_classes(heads[:, i : i + 1])[:, 0] for i in range(200)], dim=1)
    assert torch.equal(alone, seen)


def test_a_set_with_a_label_that_is_not_a_number_is_none():
    heads = torch.tensor([[[9.0, -9.0]], [[9.0, math.nan]]])
    assert sets_as_classes(heads)[1].isnan().any() and agreeing_heads(sets_as_classes(heads)).tolist() == [0]
    even = torch.zeros(2, 1, 3)  # neither yes nor no: still the same set
    assert agreeing_heads(sets_as_classes(even)).tolist() == [1]
    even[1] += 1e-9
    assert agreeing_heads(sets_as_classes(even)).tolist() == [0]
