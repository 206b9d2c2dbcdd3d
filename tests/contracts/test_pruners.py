"""What every pruner in the table promises."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.packed import Packed
from eat.pruners import PRUNERS, build_pruner

every_pruner = pytest.mark.parametrize("name", sorted(PRUNERS))
DEPTH = 2


def build(name, **arguments):
    takes = inspect.signature(PRUNERS[name]).parameters
    return build_pruner({"name": name, **{key: value for key, value in arguments.items() if key in takes}})


def state_of(lengths, seed=0, duplicates=False):
    """Random rows whose scores tie where ``duplicates`` says so; the third token of each is protected too."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    rows = torch.randn(total, 4, generator=generator, dtype=torch.float64)
    ids = torch.randint(5, 40, (total,), generator=generator)
    received = torch.rand(total, generator=generator, dtype=torch.float64)
    if duplicates:
        rows, ids, received = rows[:1].expand(total, 4), ids[:1].expand(total), received[:1].expand(total)
    ids = ids.clone()
    positions = torch.cat([torch.arange(length) for length in lengths])
    ids[positions == 2] = 4
    state = Packed.start(rows, ids, positions, lengths, contiguous=True, protected_id=4)
    return state.with_rows(rows, received)


@every_pruner
def test_it_is_built_with_its_whole_ratio(name):
    assert build(name).scale == 1.0


@every_pruner
@given(
    lengths=st.lists(st.integers(1, 15), min_size=1, max_size=5),
    ratio=st.floats(0, 0.95),
    seed=st.integers(0, 100),
    duplicates=st.booleans(),
)
def test_it_keeps_a_subset_with_the_protected(name, lengths, ratio, seed, duplicates):
    pruner = build(name, depths=[DEPTH], ratio=ratio)
    state = state_of(lengths, seed, duplicates)
    keep = pruner(state, DEPTH)
    assert keep.dtype == torch.bool and keep.shape == state.token_ids.shape
    assert bool(keep[state.protected].all())
    counts = [int(part.sum()) for part in keep.split(lengths)]
    expected = pruner.lengths_after(state, DEPTH)
    assert expected is None or counts == list(expected), "lengths alone tell how many stay"
    assert state.keep_tokens(keep, expected).host_lengths == tuple(counts)


@every_pruner
@given(lengths=st.lists(st.integers(1, 15), min_size=2, max_size=5), seed=st.integers(0, 100))
def test_each_sequence_is_judged_alone(name, lengths, seed):
    pruner = build(name, depths=[DEPTH], ratio=0.4)
    state = state_of(lengths, seed)
    together = pruner(state, DEPTH).split(lengths)
    for i, part in enumerate(together):
        only = torch.arange(len(lengths)) == i
        assert torch.equal(pruner(state.keep_sequences(only), DEPTH), part)


@every_pruner
def test_it_is_a_function_of_its_arguments(name):
    pruner, state = build(name, depths=[DEPTH], ratio=0.4), state_of([9, 5])
    assert torch.equal(pruner(state, DEPTH), pruner(state, DEPTH))
    assert torch.equal(pruner(state, DEPTH), build(name, depths=[DEPTH], ratio=0.4)(state, DEPTH))


@every_pruner
def test_ratio_zero_and_scale_zero_keep_all(name):
    state = state_of([9, 5])
    assert build(name, depths=[DEPTH], ratio=0.0)(state, DEPTH).all()
    pruner = build(name, depths=[DEPTH], ratio=0.9)
    if pruner.depths:
        pruner.scale = 0.0
        assert pruner(state, DEPTH).all()


@pytest.mark.parametrize("name", sorted(PRUNERS.keys() - {"random"}))  # its scores depend on the position: no ties
def test_equal_scores_keep_the_earlier(name):
    state = state_of([8], duplicates=True)
    keep = build(name, depths=[DEPTH], ratio=0.5)(state, DEPTH)
    others = keep[~state.protected].tolist()
    assert others == sorted(others, reverse=True)


@every_pruner
def test_received_is_read_only_where_it_is_asked_for(name):
    pruner, state = build(name, depths=[DEPTH], ratio=0.4), state_of([9, 5])
    bare = state.with_rows(state.rows)
    if pruner.needs(DEPTH):
        with pytest.raises(ValueError, match="received: the block of depth 2 did not fill it"):
            pruner(bare, DEPTH)
        assert not pruner.needs(DEPTH + 1)
    else:
        assert torch.equal(pruner(bare, DEPTH), pruner(state, DEPTH))
