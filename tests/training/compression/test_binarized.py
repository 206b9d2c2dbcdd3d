"""Binary weights: what is trained, what lies on disk, and what refuses them."""

import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eat.backbones.tiny import tiny_config
from eat.benchmark.engines import ENGINES
from eat.benchmark.engines.engine import Source
from eat.deployment import export_onnx
from eat.evaluation import evaluate_run
from eat.models.binary import disk_bytes, packed_state
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.fingerprint import model_fingerprint
from eat.ops.binary import binarized
from eat.training.compression import build_compression
from tests.made.models import make_batches, make_model
from tests.made.runs import write_run


def finished(embeddings=False, **options):
    model = make_model(torch.float32, **options)
    compression = build_compression({"name": "binarized", "embeddings": embeddings})
    compression.attach(model)
    return compression.finish(model).eval()


def answers(model):
    (batch,) = make_batches(16, 16)
    with torch.inference_mode():
        return model(batch["input_ids"], lengths=batch["lengths"], trace=True).all_logits


@pytest.mark.parametrize("embeddings", [False, True])
def test_the_finished_model_has_signs_and_scales(embeddings):
    model, plain = finished(embeddings), make_model(torch.float32)
    before = plain.state_dict()
    for name, tensor in model.state_dict().items():
        dense = name.startswith("encoder.blocks.") and name.endswith("weight") and tensor.ndim == 2
        if dense or (embeddings and name == "encoder.embeddings.words.weight"):
            assert torch.equal(tensor, binarized(before[name]))
        else:
            assert torch.equal(tensor, before[name])
    assert model.config.weights == {"name": "binary", "embeddings": embeddings}


def test_latent_weights_are_kept_where_they_learn():
    model = make_model(torch.float32)
    compression = build_compression({"name": "binarized", "embeddings": False})
    compression.attach(model)
    latent = model.encoder.blocks[0].inner.parametrizations.weight.original
    with torch.no_grad():
        latent[0, 0], latent[0, 1] = 3.0, -2.0
    compression.update(model, 1, 10)
    assert latent[0, 0] == 1 and latent[0, 1] == -1
    model.train()
    (batch,) = make_batches(8, 8)
    model(batch["input_ids"], lengths=batch["lengths"], labels=batch["labels"]).loss.backward()
    assert latent.grad.count_nonzero() > latent.numel() // 2


@pytest.mark.parametrize("embeddings", [False, True])
def test_a_file_holds_bits_and_loads_the_same_numbers(tmp_path, embeddings):
    model = finished(embeddings)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118  no mapping
    assert kinds["encoder.blocks.0.qkv.weight.signs"] is torch.uint8 and "encoder.blocks.0.qkv.weight" not in kinds
    assert ("encoder.embeddings.words.weight.signs" in kinds) is embeddings
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    stored = loaded.state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(answers(loaded), answers(model)) and model_fingerprint(loaded) == model_fingerprint(model)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_half_precision_is_read_and_written(tmp_path):
    finished().save_pretrained(tmp_path)
    half = AdaptiveForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    again = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "half", dtype=torch.bfloat16)
    assert torch.equal(again.encoder.blocks[0].qkv.weight, half.encoder.blocks[0].qkv.weight)
    assert again.dtype is torch.bfloat16


def test_the_blocks_of_a_usual_width_are_18_times_smaller_on_disk(tmp_path):
    config = tiny_config(vocab_size=100, dim=192, intermediate_size=768)
    model = AdaptiveForSequenceClassification.from_backbone(config, seed=0)
    compression = build_compression({"name": "binarized", "embeddings": False})
    compression.attach(model)
    model = compression.finish(model)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    blocks = sum(t.numel() * t.element_size() for name, t in stored.items() if name.startswith("encoder.blocks."))
    sizes = disk_bytes(model)
    assert sizes["blocks"][1] == blocks and sizes["blocks"][0] >= 18 * blocks
    whole = (tmp_path / "model.safetensors").stat().st_size
    assert 0 < whole - sizes["whole file"][1] < 20_000  # the header
    with torch.device("meta"):
        assert disk_bytes(AdaptiveForSequenceClassification(copy.deepcopy(model.config))) == sizes


def test_a_plain_model_says_nothing_of_it(tmp_path):
    make_model(torch.float32).save_pretrained(tmp_path)
    assert "weights" not in json.loads((tmp_path / "config.json").read_text())


def edited(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"name": "ternary", "embeddings": False}}, r"config\.weights: expected none, or name 'binary'"),
        ({"weights": {"name": "binary", "embeddings": 1}}, r"config\.weights\.embeddings"),
        ({"weights": {"name": "binary", "embeddings": True}}, "fingerprint differs"),
        ({"weights": None}, "fingerprint differs"),
        ({"engine": {"name": "int8", "activation_bits": 8}}, r"config\.engine: expected none with binary weights"),
    ],
)
def test_an_edited_configuration_is_refused(tmp_path, changes, message):
    finished().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        AdaptiveForSequenceClassification.from_pretrained(edited(tmp_path, **changes))


def test_damaged_bits_are_refused(tmp_path):
    finished().save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    name = "encoder.blocks.0.qkv.weight.signs"
    stored[name][0, 0] ^= 1
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="not those that were saved"):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    stored[name] = stored[name][:, :-1].contiguous()
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"signs' of shape \(96, 4\)"):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path)


def test_weights_that_are_no_longer_binary_are_not_saved(tmp_path):
    model = finished()
    with torch.no_grad():
        model.encoder.blocks[1].outer.weight[0, 0] *= 2
    with pytest.raises(ValueError, match=r"encoder\.blocks\.1\.outer\.weight: expected weights of one magnitude"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_would_change_or_waste_them_is_refused(tmp_path):
    model = finished()
    for refused in (model.train, lambda: model.add_adapter(None), lambda: model.resize_token_embeddings(200)):
        with pytest.raises(RuntimeError, match="this model is binary, for inference only"):
            refused()
    with pytest.raises(ValueError, match=r"^quantize: its weights are binary, of one bit each"):
        model.quantize(anyway=True)
    with pytest.raises(ValueError, match=r"^int8: its weights are binary, .* export in float32 \(format=onnx\)"):
        export_onnx(model, None, tmp_path / "exported", int8=True)
    reasons = {name: engine.cannot(Source(model)) for name, engine in ENGINES.items()}
    assert {name for name, reason in reasons.items() if "binary" in (reason or "")} == {
        "eat_int8",
        "eat_bf16",
        "eat_onnx_int8",
        "eat_onnx_static",
    }


def test_others_get_the_dense_numbers(tmp_path):
    model = finished(pruner={"name": "none"}, exit={"name": "never"})
    (batch,) = make_batches(1, 1)
    ids = batch["input_ids"][None]
    with torch.inference_mode():
        theirs = model.to_hugging_face()(ids, token_type_ids=torch.zeros_like(ids)).logits
        torch.testing.assert_close(theirs, model(ids).logits, rtol=0, atol=1e-4)
    assert set(packed_state(make_model(torch.float32), model.state_dict())) == set(model.state_dict())


def test_the_report_says_bytes_and_that_it_is_no_faster(tmp_path, monkeypatch):
    monkeypatch.setattr("eat.evaluation.report.section.draw", lambda *_: None)
    run = write_run(tmp_path / "run")
    finished().save_pretrained(run / "model")
    evaluate_run(run, stages=["quality"])
    text = (run / "report" / "summary.md").read_text()
    (before, after) = disk_bytes(finished())["blocks"]
    assert f"{before:,}" in text and f"{after:,}" in text and f"{before / after:.1f}x smaller" in text
    assert "No kernel here computes with one bit" in text
