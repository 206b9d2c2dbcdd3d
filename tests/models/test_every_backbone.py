"""What every backbone does in the package's other places: training, int8, packed weights, streams, ONNX segments."""

import numpy as np
import pytest
import torch

from eat.backbones import BACKBONES
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.models.test_other_tools import gradients
from tests.reference.tiny import batch_of, pack, pad_id, tiny_adaptive, tiny_hugging_face, types_for

OPTIONS = {
    "attention": {"name": "windowed", "window": 4},
    "pruner": {"name": "attention_received", "depths": [1, 2], "ratio": 0.3},
    "exit": {"name": "confidence", "threshold": 0.5237},
}
LENGTHS = [20, 3, 11, 1, 15, 12, 16, 13]
every_backbone = pytest.mark.parametrize("model_type", BACKBONES)


def packed_batch(model, **options):
    ids, mask, types = batch_of(LENGTHS, pad=model.backbone.pad_token_id, **options)
    inputs = pack(ids, mask, types)
    return inputs if model.backbone.num_types > 1 else inputs | {"token_type_ids": None}


@every_backbone
def test_it_learns_with_window_pruning_and_exits(model_type):
    theirs = tiny_hugging_face(model_type, num_labels=2)
    model = AdaptiveForSequenceClassification.from_backbone(theirs, head_depths="all", seed=0, **OPTIONS).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    inputs, labels, losses = packed_batch(model), torch.arange(len(LENGTHS)) % 2, []
    for _ in range(40):
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    model.eval()
    with torch.inference_mode():
        output = model(**inputs)
    assert float((output.logits.argmax(1) == labels).float().mean()) > 0.9


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("reentrant", [False, True])
@every_backbone
def test_gradient_checkpointing_gives_equal_gradients(model_type, reentrant):
    model = tiny_adaptive(model_type, **OPTIONS).train()
    ids, mask, types = batch_of([20, 3, 11, 1, 15], pad=pad_id(model_type))
    batch = (ids, mask, types_for(model, types))
    plain = gradients(model, batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    again = gradients(model, batch)
    assert again.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient)


@every_backbone
def test_int8_answers_alone_as_in_a_batch_and_after_loading(model_type, tmp_path):
    model = tiny_adaptive(model_type, pruner=OPTIONS["pruner"]).quantize(anyway=True)
    inputs = packed_batch(model)
    with torch.inference_mode():
        together = model(**inputs, trace=True).all_logits
        for index, one in enumerate(inputs["input_ids"].split(LENGTHS)):
            types = inputs["token_type_ids"]
            own = None if types is None else types.split(LENGTHS)[index]
            alone = model(one, token_type_ids=own, lengths=[len(one)], trace=True).all_logits
            assert torch.equal(alone[0], together[index])
        model.save_pretrained(tmp_path)
        again = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
        assert torch.equal(again(**inputs, trace=True).all_logits, together)


@every_backbone
def test_bf16_weights_answer_alike_and_after_loading(model_type, tmp_path):
    model = tiny_adaptive(model_type, attention=OPTIONS.get("attention"), pruner={"name": "none"})
    inputs = packed_batch(model)
    with torch.inference_mode():
        expected = model(**inputs, trace=True).all_logits
        near = model.quantize("bf16", anyway=True)
        got = near(**inputs, trace=True).all_logits
        torch.testing.assert_close(got, expected, rtol=0, atol=0.03 * expected.abs().max().item())
        near.save_pretrained(tmp_path)
        again = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
        assert torch.equal(again(**inputs, trace=True).all_logits, got)


@every_backbone
def test_packed_weights_answer_alike(model_type):
    model = tiny_adaptive(model_type, **OPTIONS)
    inputs = packed_batch(model)
    with torch.inference_mode():
        expected = model(**inputs, trace=True).all_logits
        torch.testing.assert_close(model.pack()(**inputs, trace=True).all_logits, expected, rtol=0, atol=1e-5)


@every_backbone
def test_a_stream_is_answered_as_a_batch(model_type):
    model = tiny_adaptive(model_type, **OPTIONS).double()
    inputs = packed_batch(model)
    names = [name for name, value in inputs.items() if value is not None and name != "lengths"]
    columns = zip(*(inputs[name].split(LENGTHS) for name in names), strict=True)
    examples = [dict(zip(names, values, strict=True)) for values in columns]
    with torch.inference_mode():
        expected = model(**inputs)
    answers = list(model.predict_stream(examples, batch_size=3))
    assert [answer.exit_depth for answer in answers] == expected.exit_depth.tolist()
    torch.testing.assert_close(torch.stack([answer.logits for answer in answers]), expected.logits)


@every_backbone
def test_onnx_segments_answer_alike_or_are_refused(model_type, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from eat.deployment import OnnxClassifier, export_onnx

    model = tiny_adaptive(model_type, **OPTIONS)
    if model.backbone.why_not_onnx is not None:
        with pytest.raises(ValueError, match=f"export: encoders of type {model_type} cannot be exported: "):
            export_onnx(model, None, tmp_path / "served")
        assert not (tmp_path / "served").exists()
        return
    served = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "served"))
    inputs = packed_batch(model)
    types = inputs["token_type_ids"]
    with torch.inference_mode():
        expected = model(**inputs)
    output = served.run(inputs["input_ids"].numpy(), np.array(LENGTHS), None if types is None else types.numpy())
    np.testing.assert_array_equal(output.exit_depth, expected.exit_depth)
    np.testing.assert_allclose(output.logits, expected.logits, atol=1e-4)
