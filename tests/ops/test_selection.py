import math
import operator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.ops.selection import SCORE_BITS, keep_counts, keep_top_tokens, rounded_scores
from tests.reference.masked import rounded

# Few distinct scores, so that ties are common.
sequences = st.lists(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, 2.5]), st.booleans()), min_size=1, max_size=12),
    min_size=1,
    max_size=5,
)


def selected(items, counts):
    lengths = torch.tensor([len(sequence) for sequence in items])
    scores = torch.tensor([score for sequence in items for score, _ in sequence])
    protected = torch.tensor([flag for sequence in items for _, flag in sequence])
    sequence = torch.repeat_interleave(torch.arange(len(items)), lengths)
    keep = keep_top_tokens(scores, protected, sequence, lengths.cumsum(0) - lengths, counts)
    return [part.tolist() for part in keep.split(lengths.tolist())]


@given(sequences, st.data())
def test_the_best_stay_and_of_equals_the_earlier(items, data):
    counts = [data.draw(st.integers(max(1, sum(p for _, p in s)), len(s))) for s in items]
    for sequence, count, keep in zip(items, counts, selected(items, counts), strict=True):
        ranked = sorted(range(len(sequence)), key=lambda i: (not sequence[i][1], -sequence[i][0], i))
        protected = sum(flag for _, flag in sequence)
        # Protected tokens come first whatever their scores, then scores, then position.
        assert keep == [i in ranked[:count] for i in range(len(sequence))]
        assert sum(keep) == count >= protected


def test_equal_scores_keep_the_earlier_position():
    items = [[(0.0, True)] + [(1.0, False)] * 6, [(9.0, True)] + [(1.0, False)] * 3]
    assert selected(items, [4, 2]) == [[True] * 4 + [False] * 3, [True, True, False, False]]
    assert selected(items[:1], [4]) == [[True] * 4 + [False] * 3], "alone as in a batch"


def test_protected_tokens_stay_whatever_their_score():
    items = [[(-5.0, True), (3.0, False), (2.0, False), (-9.0, True)]]
    assert selected(items, [3]) == [[True, True, False, True]]


@given(
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    ratio=st.floats(0, 0.999),
    min_tokens=st.integers(0, 20),
)
def test_counts_are_algorithm_1(lengths, ratio, min_tokens):
    counts = keep_counts(lengths, [1] * len(lengths), ratio, min_tokens)
    for length, count in zip(lengths, counts, strict=True):
        others = length - 1
        paper = math.ceil((1 - ratio) * others - 1e-9)
        assert count == 1 + min(others, max(paper, min_tokens))


@pytest.mark.parametrize("tenths", range(10))
def test_exact_fractions(tenths):
    """Of 10 n tokens, exactly n per tenth leave: no float product may lose one."""
    for n in range(1, 60):
        assert keep_counts([10 * n + 1], [1], tenths / 10, 0) == (1 + 10 * n - tenths * n,)


def test_several_protected_tokens_are_not_counted():
    assert keep_counts([12, 3, 2], [2, 3, 2], 0.5, 1) == (7, 3, 2)


def test_min_tokens_is_a_floor_that_adds_none():
    assert keep_counts([11, 4, 1], [1, 1, 1], 0.9, 5) == (6, 4, 1)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, math.nan])
def test_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match=r"ratio: expected a number in \[0, 1\), got"):
        keep_counts([4], [1], ratio)


def test_negative_min_tokens():
    with pytest.raises(ValueError, match="min_tokens: expected 0 or more, got -1"):
        keep_counts([4], [1], 0.5, -1)


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 32), (torch.float64, 64)])
@given(data=st.data())
def test_scores_are_rounded_to_their_first_digits(dtype, width, data):
    sizes = st.floats(2.0**-100, 2.0**100, width=width)
    numbers = st.one_of(st.just(0.0), sizes, sizes.map(operator.neg))
    scores = data.draw(st.lists(numbers, min_size=1, max_size=9))
    assert rounded_scores(torch.tensor(scores, dtype=dtype)).tolist() == [rounded(score) for score in scores]


def test_scores_that_are_no_plain_numbers():
    kept = rounded_scores(torch.tensor([math.inf, -math.inf, math.nan, torch.finfo(torch.float32).max]))
    assert kept[:2].tolist() == [math.inf, -math.inf] and kept[2].isnan() and kept[3] == math.inf
    assert rounded_scores(torch.tensor([0.3], dtype=torch.bfloat16)).dtype == torch.float32
    graph = torch.tensor([0.3], requires_grad=True)
    assert not rounded_scores(2 * graph).requires_grad and rounded_scores(graph.detach()[::1]).item() == rounded(0.3)


@pytest.mark.parametrize("noise", [1e-7, 3e-7, 3e-6])
def test_equal_but_for_rounding_is_equal(noise):
    """Any order of the noise keeps the earlier; a difference of a thousandth counts."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = 1 + noise * (2 * torch.rand(9, generator=generator) - 1)
        items = [[(float(score), False) for score in scores]]
        assert selected(items, [4]) == [[True] * 4 + [False] * 5]
        assert selected([items[0] + [(1.001, False)]], [4]) == [[True] * 3 + [False] * 6 + [True]]
    assert 4 * noise < 2.0**-SCORE_BITS
