"""Invariant 5: protected tokens stay, kept tokens never grow, every sequence answers exactly once."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.packed import Packed
from tests.reference import strategies
from tests.reference.tiny import SEP, batch_of, configure, pad_id, shared_float64, tiny_adaptive, types_for

FULL = {"name": "full"}
NEVER = {"name": "never"}


def classify(model, ids, mask, types=None, **options):
    with torch.no_grad():
        return model(ids, mask, types, **options)


@given(
    model_type=strategies.model_types,
    attention=strategies.attentions,
    pruner=strategies.pruners(),
    exit=strategies.exits,
    lengths=strategies.lengths,
    layout=strategies.layouts,
    seed=strategies.seeds,
)
def test_counts_and_depths(model_type, attention, pruner, exit, lengths, layout, seed):
    model = configure(shared_float64(model_type, "cls"), attention, pruner, exit)
    ids, mask, types = batch_of(lengths, layout, seed=seed, pad=pad_id(model_type))
    output = classify(model, ids, mask, types_for(model, types))
    kept, depth = output.tokens_kept, output.exit_depth
    assert output.logits.shape == (len(lengths), 3) and output.logits.isfinite().all()
    assert kept.shape == (len(lengths), model.num_layers + 1) and kept.dtype == torch.long
    assert kept[:, 0].tolist() == lengths
    assert (kept.diff(dim=1) <= 0).all()
    assert set(depth.tolist()) <= set(model.head_depths)
    columns = torch.arange(model.num_layers + 1)
    assert ((kept > 0) == (columns < depth.unsqueeze(1))).all(), "rows live until the exit and not beyond"
    assert ((output.retention > 0) & (output.retention <= 1)).all()


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    ratios=st.lists(st.floats(0, 0.95), min_size=2, max_size=2),
    min_tokens=st.integers(0, 6),
    name=st.sampled_from(["l2_norm", "attention_received", "random"]),
)
def test_counts_are_algorithm_1(lengths, ratios, min_tokens, name):
    """ceil((1 - p)(t - 1)) of the tokens other than [CLS] stay, and min_tokens where there are so many."""
    pruner = {"name": name, "depths": [1, 2], "ratio": ratios, "min_tokens": min_tokens}
    model = configure(shared_float64("bert", "cls"), FULL, pruner, NEVER)
    ids, mask, _ = batch_of(lengths)
    kept = classify(model, ids, mask).tokens_kept
    for i, length in enumerate(lengths):
        others = length - 1
        for depth, ratio in enumerate(ratios, start=1):
            stay = math.ceil((1 - ratio) * others - 1e-9)
            others = min(others, max(stay, min_tokens))
            assert kept[i, depth] == 1 + others


def test_exact_fractions_drop_what_they_say():
    """0.3 * 10 is 3.0000000000000004 or 2.9999999999999996 in floating point; three of ten leave in any case."""
    model = configure(
        shared_float64("bert", "cls"), FULL, {"name": "l2_norm", "depths": [1], "ratio": 0.3, "min_tokens": 1}, NEVER
    )
    ids, mask, _ = batch_of([11, 21, 31])
    assert classify(model, ids, mask).tokens_kept[:, 1].tolist() == [8, 15, 22]


class Recorder:
    """Stands in for a pruner and remembers what it was given and what it kept."""

    def __init__(self, pruner):
        self.pruner, self.seen = pruner, []

    def __getattr__(self, name):
        return getattr(self.pruner, name)

    def __call__(self, state: Packed, depth: int) -> torch.Tensor:
        keep = self.pruner(state, depth)
        self.seen.append((state, keep))
        return keep


@pytest.mark.parametrize("name", ["l2_norm", "attention_received", "random"])
@pytest.mark.parametrize("global_tokens", [["cls"], ["cls", "sep"]])
@given(lengths=strategies.lengths, ratio=st.floats(0.3, 0.95), seed=strategies.seeds)
def test_protected_tokens_stay(name, global_tokens, lengths, ratio, seed):
    attention = {"name": "windowed", "window": 4, "global_tokens": global_tokens}
    pruner = {"name": name, "depths": [1, 2], "ratio": ratio, "min_tokens": 0}
    model = configure(shared_float64("bert", "cls"), attention, pruner, NEVER)
    recorder = Recorder(model.encoder.pruner)
    model.encoder.pruner = recorder
    ids, mask, _ = batch_of(lengths, seed=seed)
    classify(model, ids, mask)
    for state, keep in recorder.seen:
        first = torch.zeros_like(keep)
        first[state.starts] = True
        expected = first | (state.token_ids == SEP) if "sep" in global_tokens else first
        assert torch.equal(state.protected, expected)
        assert bool(keep[state.protected].all())
        assert (state.positions[state.starts] == 0).all(), "[CLS] still leads its sequence"


def test_nothing_is_lost_or_doubled():
    """Sequences that leave at different depths come back in the order in which they came in."""
    model = configure(
        shared_float64("bert", "cls"), FULL, {"name": "none"}, {"name": "confidence", "threshold": 0.5237}
    )
    ids, mask, _ = batch_of([7] * 40, seed=4)
    output, traced = classify(model, ids, mask), classify(model, ids, mask, trace=True)
    assert set(output.exit_depth.tolist()) == {1, 2, 3}
    taken = traced.all_logits[torch.arange(40), output.exit_depth - 1]
    torch.testing.assert_close(output.logits, taken, rtol=1e-9, atol=1e-9)
    assert len({tuple(row) for row in output.logits.tolist()}) == 40


def test_everybody_may_leave_at_the_first_head():
    model = configure(shared_float64("bert", "cls"), FULL, {"name": "none"}, {"name": "confidence", "threshold": 0.0})
    ids, mask, _ = batch_of([7, 3, 5])
    output = classify(model, ids, mask)
    assert output.exit_depth.tolist() == [1, 1, 1]
    assert output.tokens_kept.tolist() == [[7, 0, 0, 0], [3, 0, 0, 0], [5, 0, 0, 0]]
    assert output.retention.tolist() == [1.0, 1.0, 1.0]


def test_heads_only_where_asked():
    model = tiny_adaptive(head_depths=[2], exit={"name": "confidence", "threshold": 0.0})
    ids, mask, _ = batch_of([7, 3])
    assert model.head_depths == (2, 3)
    assert classify(model, ids, mask).exit_depth.tolist() == [2, 2]
    assert classify(model, ids, mask, trace=True).all_logits.shape == (2, 2, 3)
    assert tiny_adaptive(head_depths=None).head_depths == (3,), "nobody exits: the last head alone"
    assert tiny_adaptive(head_depths=None, exit={"name": "margin"}).head_depths == (1, 2, 3)


def test_min_tokens_is_a_floor():
    pruner = {"name": "l2_norm", "depths": [1, 2], "ratio": 0.9, "min_tokens": 4}
    model = configure(shared_float64("bert", "cls"), FULL, pruner, NEVER)
    ids, mask, _ = batch_of([22, 5, 4, 1])
    assert classify(model, ids, mask).tokens_kept.tolist() == [[22, 5, 5, 0], [5, 5, 5, 0], [4, 4, 4, 0], [1, 1, 1, 0]]


def test_min_retention_is_a_floor_over_what_came_in():
    pruner = {"name": "l2_norm", "depths": [1, 2], "ratio": 0.5, "min_retention": 0.4}
    model = configure(shared_float64("bert", "cls"), FULL, pruner, NEVER)
    ids, mask, _ = batch_of([21, 20, 5, 1])
    assert classify(model, ids, mask).tokens_kept.tolist() == [
        [21, 11, 9, 0],
        [20, 11, 8, 0],
        [5, 3, 2, 0],
        [1, 1, 1, 0],
    ]


def test_pruning_scale_anneals_the_ratio():
    model = configure(
        shared_float64("bert", "cls"), FULL, {"name": "l2_norm", "depths": [1, 2], "ratio": [0.5, 0.2]}, NEVER
    )
    ids, mask, _ = batch_of([21])
    kept = []
    for scale in (0.0, 0.5, 1.0):
        model.set_pruning_scale(scale)
        kept.append(classify(model, ids, mask).tokens_kept[0].tolist())
    assert kept == [[21, 21, 21, 0], [21, 16, 15, 0], [21, 11, 9, 0]]
    for scale in (-0.1, 1.1):
        with pytest.raises(ValueError, match="scale"):
            model.set_pruning_scale(scale)


def test_training_mode_lets_nobody_leave():
    model = tiny_adaptive(pruner={"name": "l2_norm", "depths": [1]}, exit={"name": "confidence", "threshold": 0.0})
    ids, mask, _ = batch_of([9, 4])
    output = model.train()(ids, mask)
    assert output.exit_depth.tolist() == [3, 3]
    assert output.all_logits.shape == (2, 3, 3)
    assert output.tokens_kept[:, 1].tolist() == [7, 4], "pruning works while training"
    assert torch.equal(output.logits, output.all_logits[:, -1])
