"""On a CUDA device the same answers as on the CPU."""

import pytest
import torch

from tests.reference.tiny import MODEL_TYPES, batch_of, configure, pad_id, tiny_adaptive, types_for

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("pruner", ["l2_norm", "attention_received", "random"])
@pytest.mark.parametrize("attention", [{"name": "full"}, {"name": "windowed", "window": 8}])
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
