"""Invariant 3: an example's answer depends on nothing else in its batch, nor on how the batch came in."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.reference import strategies
from tests.reference.tiny import batch_of, configure, pack, pad_id, shared_float64, tiny_adaptive, types_for

EXIT = {"name": "confidence", "threshold": 0.5237}


@functools.cache
def tiny_float32():
    """One float32 model without decisions: near-ties are another test's matter."""
    return tiny_adaptive(attention={"name": "windowed", "window": 6})


def classify(model, ids, mask, types):
    with torch.no_grad():
        return model(ids, mask, types_for(model, types))


def assert_same(actual, expected, rows=None):
    rows = list(range(len(expected.logits))) if rows is None else rows
    torch.testing.assert_close(actual.logits, expected.logits[rows], rtol=1e-9, atol=1e-9)
    assert actual.exit_depth.tolist() == expected.exit_depth[rows].tolist()
    assert actual.tokens_kept.tolist() == expected.tokens_kept[rows].tolist()


@given(
    model_type=strategies.model_types,
    pooling=strategies.poolings,
    attention=strategies.attentions,
    pruner=strategies.pruners(),
    exit=strategies.exits,
    lengths=strategies.lengths,
    layout=strategies.layouts,
    seed=strategies.seeds,
    data=st.data(),
)
def test_alone_in_any_batch_and_in_any_order(model_type, pooling, attention, pruner, exit, lengths, layout, seed, data):
    model = configure(shared_float64(model_type, pooling), attention, pruner, exit)
    batch = batch_of(lengths, layout, seed=seed, pad=pad_id(model_type))
    together = classify(model, *batch)
    order = data.draw(st.permutations(range(len(lengths))))
    assert_same(classify(model, *(part[list(order)] for part in batch)), together, list(order))
    some = data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, max_size=4))
    assert_same(classify(model, *(part[some] for part in batch)), together, some)


@given(
    model_type=strategies.model_types,
    attention=strategies.attentions,
    pruner=strategies.pruners(),
    exit=strategies.exits,
    lengths=strategies.lengths,
    seed=strategies.seeds,
    extra=st.integers(1, 9),
)
def test_padding_does_not_matter(model_type, attention, pruner, exit, lengths, seed, extra):
    """Wider padding on the right, and no padding at all, give the same answers."""
    model = configure(shared_float64(model_type, "cls"), attention, pruner, exit)
    ids, mask, types = batch_of(lengths, seed=seed, pad=pad_id(model_type))
    padded = classify(model, ids, mask, types)
    wide = [
        torch.nn.functional.pad(part, (0, extra), value=pad)
        for part, pad in ((ids, pad_id(model_type)), (mask, 0), (types, 0))
    ]
    assert_same(classify(model, *wide), padded)
    packed = pack(ids, mask, types)
    if types_for(model, types) is None:
        del packed["token_type_ids"]
    with torch.no_grad():
        assert_same(model(**packed), padded)


@pytest.mark.parametrize("global_tokens", [["cls"], ["cls", "sep"]])
def test_long_and_short_inputs_side_by_side(global_tokens):
    """Blocks, dense masks and no mask at all in one batch."""
    model = tiny_adaptive(max_length=330).double()
    attention = {"name": "windowed", "window": 8, "global_tokens": global_tokens}
    configure(model, attention, {"name": "attention_received", "depths": [1, 2], "ratio": 0.2}, EXIT)
    batch = batch_of([300, 4, 5, 40, 250, 192, 191, 1], "holes", seed=6)
    together = classify(model, *batch)
    for i in range(8):
        assert_same(classify(model, *(part[i : i + 1] for part in batch)), together, [i])


@given(lengths=strategies.lengths, seed=strategies.seeds)
def test_float32_alone_and_together(lengths, seed):
    model = tiny_float32()
    ids, mask, types = batch_of(lengths, seed=seed)
    together = classify(model, ids, mask, types)
    for i in range(len(lengths)):
        alone = classify(model, ids[i : i + 1], mask[i : i + 1], types[i : i + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[i], rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "roberta"])  # the epsilon of their LayerNorms: 1e-12 and 1e-5
@pytest.mark.parametrize("dim", [24, 384])
def test_equal_norms_keep_the_same_tokens_alone_and_together(model_type, dim):
    """Fresh LayerNorms have gains of 1 and no biases: norms are equal but for rounding, so the first tokens stay."""
    config = tiny_config(model_type, dim=dim, num_layers=3, num_heads=4)
    pruner = {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}
    model = AdaptiveForSequenceClassification.from_backbone(config, pruner=pruner, seed=0)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 40, (64,), generator=generator)
    rows = torch.randint(5, 128, (int(lengths.sum()),), generator=generator).split(lengths.tolist())
    model.encoder.pruner = logged = LoggedPruner(model.pruner)
    with torch.no_grad():
        model(torch.cat(rows), lengths=lengths)
        together = list(map(list, zip(*logged.kept, strict=True)))
        for row, expected in zip(rows, together, strict=True):
            logged.kept.clear()
            model(row, lengths=torch.tensor([len(row)]))
            assert [kept for (kept,) in logged.kept] == expected
            assert expected == [list(range(len(kept))) for kept in expected]


class LoggedPruner:
    """A pruner that notes the positions which it keeps, by depth and sequence."""

    def __init__(self, pruner):
        self.pruner, self.depths, self.kept = pruner, pruner.depths, []

    def __getattr__(self, name):
        return getattr(self.pruner, name)

    def __call__(self, state, depth):
        keep = self.pruner(state, depth)
        parts = zip(keep.split(state.host_lengths), state.positions.split(state.host_lengths), strict=True)
        self.kept.append([positions[mask].tolist() for mask, positions in parts])
        return keep


def test_the_answer_does_not_depend_on_what_padding_holds():
    model = configure(shared_float64("bert", "mean"), {"name": "full"}, {"name": "l2_norm", "depths": [1]}, EXIT)
    ids, mask, types = batch_of([9, 4, 7], "holes", seed=1)
    other = torch.where(mask.bool(), ids, 17)
    assert_same(classify(model, other, mask, types), classify(model, ids, mask, types))
