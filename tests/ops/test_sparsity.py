import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.ops.sparsity import cubic_share, keep_largest, kept_count


def test_the_cubic_schedule_by_hand():
    shares = [cubic_share(0.1, progress) for progress in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert shares == pytest.approx([1.0, 1.0, 0.1 + 0.9 / 8, 0.1, 0.1])


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 0.5000001, 3.0]), min_size=1, max_size=30), st.data())
def test_the_largest_stay_and_of_equals_the_earlier(values, data):
    count = data.draw(st.integers(1, len(values)))
    ranked = sorted(range(len(values)), key=lambda i: (-values[i], i))
    expected = [i in ranked[:count] for i in range(len(values))]
    scores = torch.tensor(values, dtype=torch.float64)
    assert keep_largest(scores, count).tolist() == expected
    assert keep_largest(scores.unsqueeze(0), count).tolist() == [expected]


def test_a_matrix_is_ranked_in_its_own_order_however_it_lies_in_memory():
    scores = torch.zeros(4, 6)
    assert torch.equal(keep_largest(scores.t().contiguous().t(), 7), keep_largest(scores, 7))
    assert keep_largest(scores, 7)[0].all() and keep_largest(scores, 7).sum() == 7


@given(st.floats(0.0, 1.0, exclude_min=True), st.integers(1, 10**6))
def test_a_share_is_at_least_one_and_at_most_all(share, number):
    assert 1 <= kept_count(share, number) <= number
    assert abs(kept_count(share, number) - share * number) <= 1
