"""Scores by hand, and what a schedule may be."""

import math

import pytest
import torch

from eat.packed import Packed
from eat.pruners.attention_received import AttentionReceivedPruner
from eat.pruners.l2_norm import L2NormPruner
from eat.pruners.none import NoPruner
from eat.pruners.ranked import RankedPruner
from tests.reference.unchecked import unchecked

BAD_RATIOS = [1.0, -0.01, math.nan, math.inf, True, "0.3", None, [0.3], [0.3, 1.0], [0.3, "x"], []]


def state_of(rows, lengths, received=None):
    rows = torch.tensor(rows)
    positions = torch.cat([torch.arange(length) for length in lengths])
    state = Packed.start(rows, torch.full((len(rows),), 9), positions, lengths, contiguous=True)
    return state.with_rows(rows, received)


def test_l2_norm_keeps_the_long_rows():
    """[CLS] stays although it is the shortest; of the two others of norm 5 the earlier stays."""
    state = state_of([[0.0, 0.1], [3.0, 4.0], [1.0, 1.0], [0.0, 5.0], [6.0, 0.0]], [5])
    assert L2NormPruner(depths=[1], ratio=0.5)(state, 1).tolist() == [True, True, False, False, True]


def test_attention_received_keeps_what_is_looked_at():
    received = torch.tensor([0.0, 0.9, 0.1, 0.5, 1.0, 0.2, 0.3])
    state = state_of([[0.0]] * 7, [4, 3], received)
    pruner = AttentionReceivedPruner(depths=[1], ratio=0.5)
    assert pruner(state, 1).tolist() == [True, True, False, True, True, False, True]
    assert pruner.needs(1) and not pruner.needs(2)


def test_no_pruner_keeps_everything():
    state = state_of([[0.0]] * 3, [3])
    assert NoPruner()(state, 1).all() and NoPruner().lengths_after(state, 1) == (3,)


def test_one_ratio_per_depth():
    pruner = L2NormPruner(depths=[1, 3], ratio=[0.5, 0.25])
    state = state_of([[0.0]] * 9, [9])
    assert pruner.lengths_after(state, 1) == (5,) and pruner.lengths_after(state, 3) == (7,)


def test_scale_multiplies_the_ratio():
    pruner = L2NormPruner(depths=[1], ratio=0.5)
    pruner.scale = 0.5
    assert pruner.lengths_after(state_of([[0.0]] * 9, [9]), 1) == (7,)


def test_defaults_are_the_papers():
    pruner = L2NormPruner()
    assert pruner.depths == (2, 4) and pruner.ratios == {2: 0.3, 4: 0.3} and pruner.min_tokens == 1


@pytest.mark.parametrize("ratio", BAD_RATIOS)
def test_bad_ratio(ratio):
    with pytest.raises(ValueError, match=r"pruner\.ratio: expected (a number in \[0, 1\)|one number or one per depth)"):
        unchecked(RankedPruner, depths=[1, 2], ratio=ratio)


def test_bad_ratio_without_depths():
    with pytest.raises(ValueError, match=r"pruner\.ratio"):
        RankedPruner(depths=[], ratio=1.5)


@pytest.mark.parametrize("depths", [[0], [-1], [2, 2], [3, 1], [1.0], ["1"], [True], [None], None, "12", 2])
def test_bad_depths(depths):
    with pytest.raises(ValueError, match=r"pruner\.depths: expected a list of increasing integers of 1 or more, got"):
        unchecked(RankedPruner, depths=depths)


@pytest.mark.parametrize("min_retention", [-0.1, 1.1, math.nan, True, "0.5", None])
def test_bad_min_retention(min_retention):
    with pytest.raises(ValueError, match=r"pruner\.min_retention: expected a number in \[0, 1\], got"):
        unchecked(RankedPruner, min_retention=min_retention)


def test_min_retention_one_switches_pruning_off():
    state = state_of([[0.0]] * 9, [9])
    assert L2NormPruner(depths=[1], ratio=0.9, min_retention=1)(state, 1).all()


@pytest.mark.parametrize("min_tokens", [-1, 1.5, True, "1", None])
def test_bad_min_tokens(min_tokens):
    with pytest.raises(ValueError, match=r"pruner\.min_tokens: expected an integer of 0 or more, got"):
        unchecked(RankedPruner, min_tokens=min_tokens)
