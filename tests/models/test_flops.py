"""The closed form counts what torch's own counter counts, where nothing is hidden in a fused kernel."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eat.attention.windowed import BLOCKED_FROM
from tests.reference import strategies
from tests.reference.tiny import MODEL_TYPES, batch_of, configure, pad_id, shared_float64, tiny_adaptive

NEVER = {"name": "never"}


def counted(model, ids, mask=None, **options):
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model(ids, mask, **options)
    return counter.get_total_flops(), output


def assert_closed_form(model, ids):
    flops, output = counted(model, ids)
    assert model.flops(output.tokens_kept, output.exit_depth).tolist() == [flops]
    return output


@given(
    model_type=strategies.model_types,
    pooling=strategies.poolings,
    attention=strategies.attentions,
    pruner=strategies.pruners(),
    exit=strategies.exits,
    length=st.integers(1, 38),
    seed=strategies.seeds,
)
def test_closed_form(model_type, pooling, attention, pruner, exit, length, seed):
    model = configure(shared_float64(model_type, pooling), attention, pruner, exit)
    ids, _, _ = batch_of([length], seed=seed, pad=pad_id(model_type))
    assert_closed_form(model, ids)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("pruner", ["none", "l2_norm", "attention_received"])
@pytest.mark.parametrize("length", [BLOCKED_FROM - 1, BLOCKED_FROM, 300])
def test_closed_form_in_blocks(model_type, pruner, length):
    model = tiny_adaptive(model_type, max_length=320, attention={"name": "windowed", "window": 16}, num_layers=2)
    model.set_pruner(**{"name": pruner} | ({} if pruner == "none" else {"depths": [1], "ratio": 0.3}))
    ids, _, _ = batch_of([length], pad=pad_id(model_type))
    assert_closed_form(model, ids)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_exits_save_what_lies_behind_them(depth):
    model = tiny_adaptive(head_depths=[depth], exit={"name": "confidence", "threshold": 0.0})
    output = assert_closed_form(model, batch_of([20])[0])
    assert output.exit_depth.item() == depth


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_dense_flops_are_hugging_faces(model_type):
    model = tiny_adaptive(
        model_type,
        attention={"name": "windowed", "window": 4},
        pruner={"name": "l2_norm", "depths": [1]},
        exit={"name": "margin"},
    )
    hugging_face = model.to_hugging_face()
    for length in (1, 7, 33):
        flops, _ = counted(hugging_face, batch_of([length], pad=pad_id(model_type))[0])
        assert model.dense_flops(torch.tensor([length])).tolist() == [flops]


def test_with_everything_off_the_work_is_the_dense_work():
    model = configure(shared_float64("electra", "cls"), {"name": "full"}, {"name": "none"}, NEVER)
    ids, mask, _ = batch_of([20, 3, 11, 1])
    with torch.no_grad():
        output = model(ids, mask)
    flops = model.flops(output.tokens_kept, output.exit_depth)
    assert flops.dtype == torch.float64
    assert flops.tolist() == model.dense_flops(mask.sum(1)).tolist()


def test_per_example_in_a_batch_as_alone():
    pruner = {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}
    exit = {"name": "confidence", "threshold": 0.5237}
    model = configure(shared_float64("bert", "cls"), {"name": "windowed", "window": 4}, pruner, exit)
    ids, mask, _ = batch_of([20, 3, 11, 1, 15])
    with torch.no_grad():
        output = model(ids, mask)
    together = model.flops(output.tokens_kept, output.exit_depth).tolist()
    assert together == [counted(model, ids[i : i + 1, : mask[i].sum()])[0] for i in range(5)]


def test_a_global_separator_in_blocks():
    attention = {"name": "windowed", "window": 16, "global_tokens": ["cls", "sep"]}
    model = tiny_adaptive(max_length=320, attention=attention, num_layers=2)
    ids, _, _ = batch_of([300])
    assert_closed_form(model, ids)
