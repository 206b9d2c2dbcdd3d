"""Invariant 2: rows that leave and rows that are masked give the same answers, depths and counts."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import strategies
from tests.reference.masked import MaskedClassifier
from tests.reference.tiny import batch_of, configure, pad_id, shared_float64, tiny_adaptive, types_for

PRUNER: dict[str, Any] = {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}


def assert_equal_to_masked(model, ids, mask, types, *, trace=False):
    types = types_for(model, types)
    expected = MaskedClassifier(model)(ids, mask, types, trace=trace)
    with torch.no_grad():
        output = model(ids, mask, types, trace=trace)
    torch.testing.assert_close(output.logits, expected.logits, rtol=1e-9, atol=1e-9)
    assert output.exit_depth.tolist() == expected.exit_depth.tolist()
    assert output.tokens_kept.tolist() == expected.tokens_kept.tolist()
    if trace:
        torch.testing.assert_close(output.all_logits, expected.all_logits, rtol=1e-9, atol=1e-9)
    return output


@given(
    model_type=strategies.model_types,
    pooling=strategies.poolings,
    attention=strategies.attentions,
    pruner=strategies.pruners(),
    exit=strategies.exits,
    lengths=strategies.lengths,
    layout=strategies.layouts,
    seed=strategies.seeds,
    trace=st.booleans(),
)
def test_removing_equals_masking(model_type, pooling, attention, pruner, exit, lengths, layout, seed, trace):
    model = configure(shared_float64(model_type, pooling), attention, pruner, exit)
    batch = batch_of(lengths, layout, seed=seed, pad=pad_id(model_type))
    assert_equal_to_masked(model, *batch, trace=trace)


@pytest.mark.parametrize(
    "attention", [{"name": "full"}, {"name": "windowed", "window": 4, "global_tokens": ["cls", "sep"]}]
)
@pytest.mark.parametrize("pruner", ["none", "l2_norm", "attention_received", "random"])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert", "mpnet", "albert"])
def test_every_pruner_with_every_attention(model_type, pruner, attention):
    spec = {"name": pruner} | ({} if pruner == "none" else {"depths": [1, 2], "ratio": [0.3, 0.5]})
    model = configure(shared_float64(model_type, "cls"), attention, spec, {"name": "confidence", "threshold": 0.5237})
    output = assert_equal_to_masked(model, *batch_of([20, 3, 11, 1, 15, 11], "holes", seed=3, pad=pad_id(model_type)))
    assert len(set(output.exit_depth.tolist())) > 1, "the example should have both early and late exits"


@pytest.mark.parametrize("pruner", [{"name": "none"}, PRUNER])
@pytest.mark.parametrize("global_tokens", [["cls"], ["cls", "sep"]])
def test_long_inputs_in_blocks(pruner, global_tokens):
    model = tiny_adaptive(max_length=330, head_pooling="mean").double()
    attention = {"name": "windowed", "window": 10, "global_tokens": global_tokens}
    configure(model, attention, pruner, {"name": "confidence", "threshold": 0.6613})
    assert_equal_to_masked(model, *batch_of([300, 5, 191, 192, 193, 257, 256], "holes", seed=1, width=320))


@given(
    model_type=strategies.model_types,
    pruner=strategies.pruners(),
    exit=strategies.exits,
    lengths=strategies.lengths,
    seed=strategies.seeds,
)
def test_float32_agrees_outside_near_ties(model_type, pruner, exit, lengths, seed):
    model = configure(shared_float64(model_type, "cls"), {"name": "full"}, pruner, exit)
    ids, mask, types = batch_of(lengths, seed=seed, pad=pad_id(model_type))
    types = types_for(model, types)
    expected = MaskedClassifier(model)(ids, mask, types)
    with torch.no_grad():
        try:
            output = model.float()(ids, mask, types)
        finally:
            model.double()
    clear = expected.closest_decision > 1e-5
    assert output.exit_depth[clear].tolist() == expected.exit_depth[clear].tolist()
    assert output.tokens_kept[clear].tolist() == expected.tokens_kept[clear].tolist()
    # These heads are scaled up, so that random answers differ, and their rounding with them.
    torch.testing.assert_close(output.logits[clear], expected.logits[clear].float(), rtol=0, atol=3e-5)


@given(seed=strategies.seeds, lengths=strategies.lengths)
def test_exits_do_not_change_what_is_pruned(seed, lengths):
    """The trace's counts, cut at the exit, are the live run's: what replay rests on."""
    model = configure(
        shared_float64("bert", "cls"), {"name": "full"}, PRUNER, {"name": "confidence", "threshold": 0.5237}
    )
    ids, mask, _ = batch_of(lengths, seed=seed)
    with torch.no_grad():
        live, traced = model(ids, mask), model(ids, mask, trace=True)
    columns = torch.arange(live.tokens_kept.shape[1])
    cut = traced.tokens_kept * (columns < live.exit_depth.unsqueeze(1))
    assert live.tokens_kept.tolist() == cut.tolist()
    taken = traced.all_logits[torch.arange(len(lengths)), live.exit_depth - 1]
    torch.testing.assert_close(live.logits, taken, rtol=1e-9, atol=1e-9)
