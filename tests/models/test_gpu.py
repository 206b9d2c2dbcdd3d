"""On a CUDA device the same answers as on the CPU."""

import contextlib
import copy
import warnings

import pytest
import torch

from tests.reference.tiny import MODEL_TYPES, batch_of, configure, pack, pad_id, tiny_adaptive, types_for

pytestmark = pytest.mark.gpu
ATTENTIONS = [{"name": "full"}, {"name": "windowed", "window": 8}]
PRUNERS = ["l2_norm", "attention_received", "random"]


@contextlib.contextmanager
def synchronisations(mode):
    """Let CUDA say where the host waits for the device: "warn" or "error"."""
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def packed_on_device(lengths, seed=0):
    """Tokens on the device, lengths on the host."""
    inputs = pack(*batch_of(lengths, seed=seed))
    return {name: value if name == "lengths" else value.cuda() for name, value in inputs.items()}


def assert_same(output, expected, tolerance):
    torch.testing.assert_close(output.logits, expected.logits, rtol=0, atol=tolerance)
    assert output.exit_depth.tolist() == expected.exit_depth.tolist()
    assert output.tokens_kept.tolist() == expected.tokens_kept.tolist()


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_device_does_not_matter(model_type, pruner, attention):
    model = tiny_adaptive(model_type, max_length=330).double()
    configure(
        model, attention, {"name": pruner, "depths": [1, 2], "ratio": 0.3}, {"name": "margin", "threshold": 0.2339}
    )
    ids, mask, types = batch_of([300, 20, 3, 11, 1], "holes", pad=pad_id(model_type))
    types = types_for(model, types)
    with torch.no_grad():
        expected = model(ids, mask, types)
        model.cuda()
        output = model(ids.cuda(), mask.cuda(), None if types is None else types.cuda())
    torch.testing.assert_close(output.logits.cpu(), expected.logits, rtol=1e-9, atol=1e-9)
    assert output.exit_depth.tolist() == expected.exit_depth.tolist()
    assert output.tokens_kept.tolist() == expected.tokens_kept.tolist()


@pytest.mark.parametrize("pruner", ["l2_norm", "attention_received"])
def test_a_stream_answers_as_on_the_cpu(pruner):
    model = tiny_adaptive(max_length=330, pruner={"name": pruner, "depths": [1, 2], "ratio": 0.3}).double()
    model.set_exit(name="confidence", threshold=0.5237)
    examples = [
        {"input_ids": batch_of([length], seed=length)[0][0].tolist()} for length in [300, 20, 3, 11, 1, 40, 17, 9, 22]
    ]
    expected = list(model.predict_stream(examples, 4))
    for ours, theirs in zip(model.cuda().predict_stream(examples, 4), expected, strict=True):
        assert ours.logits.is_cuda
        torch.testing.assert_close(ours.logits.cpu(), theirs.logits, rtol=1e-9, atol=1e-9)
        assert (ours.exit_depth, ours.tokens_kept) == (theirs.exit_depth, theirs.tokens_kept)


def test_mixed_precision_trains():
    model = tiny_adaptive(max_length=330, attention={"name": "windowed", "window": 8}).cuda().train()
    model.set_pruner(name="attention_received", depths=[1], ratio=0.3)
    ids, mask, types = (part.cuda() for part in batch_of([300, 20, 3]))
    with torch.autocast("cuda", torch.bfloat16):
        loss = model(ids, mask, types, labels=torch.tensor([0, 1, 2], device="cuda")).loss
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_bfloat16_stays_near_float64(attention):
    """On ragged batches: flash and, in eight columns per head, groups for the window."""
    model = tiny_adaptive(max_length=330, attention=attention).double().cuda()
    inputs = packed_on_device([300, 20, 3, 11, 1])
    with torch.inference_mode():
        expected = model(**inputs).logits
        output = model.bfloat16()(**inputs).logits
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("lengths", [[25], [30, 5, 12, 40, 3, 3]])
def test_full_depth_never_waits_for_the_device(dtype, attention, pruner, lengths):
    model = tiny_adaptive(num_layers=4).to("cuda", dtype)
    configure(model, attention, {"name": pruner, "depths": [1, 2], "ratio": 0.3}, {"name": "never"})
    inputs = packed_on_device(lengths)
    with torch.inference_mode():
        expected = model(**inputs)
        with synchronisations("error"):
            output = model(**inputs)
    assert_same(output, expected, 1e-4 if dtype is torch.float32 else 0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("lengths", [[25], [30, 5, 12, 40, 3, 3]])
def test_the_host_waits_once_per_early_head(dtype, attention, lengths):
    model = tiny_adaptive(num_layers=4).to("cuda", dtype)
    configure(
        model, attention, {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}, {"name": "margin", "threshold": 0.2}
    )
    inputs = packed_on_device(lengths)
    with torch.inference_mode(), warnings.catch_warnings(record=True) as waited:
        model(**inputs)
        warnings.simplefilter("always")
        waited.clear()
        with synchronisations("warn"):
            output = model(**inputs)
    waits = [warning for warning in waited if "synchronizing CUDA operation" in str(warning.message)]
    early = [depth for depth in model.head_depths[:-1] if (output.exit_depth >= depth).any()]
    assert len(waits) == len(early)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("attention", [*ATTENTIONS, {"name": "windowed", "window": 200}])
@pytest.mark.parametrize("pruner", PRUNERS)
def test_graphs_answer_like_the_encoder(model_type, attention, pruner):
    model = tiny_adaptive(model_type, num_layers=4, max_length=330).cuda()
    configure(model, attention, {"name": pruner, "depths": [1, 2], "ratio": 0.3}, {"name": "margin", "threshold": 0.2})
    recorded = copy.deepcopy(model)
    recorded.capture_graphs(max_length=250)
    depths = set()
    with torch.inference_mode():
        for seed in range(4):
            for length in (1, 9, 30, 250, 9):
                ids, _, types = (part.cuda() for part in batch_of([length], seed=seed))
                types = types_for(model, types)
                expected = model(ids, None, types)
                assert_same(recorded(ids, None, types), expected, 1e-4)
                depths.add(expected.exit_depth.item())
    assert len(depths) > 1, "some leave early"
    assert set(recorded._graphs._recorded) == {(1, 1), (1, 9), (1, 30), (1, 250)}


def test_a_replay_waits_once_per_early_head():
    model = tiny_adaptive(num_layers=4, exit={"name": "never"}).cuda()
    model.capture_graphs()
    inputs = packed_on_device([25])
    with torch.inference_mode():
        expected = model(**inputs)
        with synchronisations("error"):
            output = model(**inputs)
        assert_same(output, expected, 0)
        model.set_exit(name="confidence", threshold=1.0)
        model(**inputs)
        with synchronisations("error"), pytest.raises(RuntimeError, match="synchronizing"):
            model(**inputs)


def test_graphs_read_new_weights_in_place():
    model = tiny_adaptive().cuda()
    model.capture_graphs()
    inputs = packed_on_device([25])
    with torch.inference_mode():
        before = model(**inputs).logits
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
        expected = copy.deepcopy(model)
        expected._graphs = None
        torch.testing.assert_close(model(**inputs).logits, expected(**inputs).logits, rtol=0, atol=1e-5)
        assert not torch.allclose(model(**inputs).logits, before)


def test_graphs_refuse_what_they_cannot_do():
    model = tiny_adaptive().cuda()
    with pytest.raises(ValueError, match="max_length: expected 1 to 40, got 41"):
        model.capture_graphs(max_length=41)
    model.set_attention(name="windowed", window=8, global_tokens=["cls", "sep"])
    with pytest.raises(ValueError, match=r"expected attention.global_tokens \['cls'\]"):
        model.capture_graphs()
