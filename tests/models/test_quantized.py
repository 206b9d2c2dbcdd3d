"""Models for inference: int8 and bfloat16 ones answer the same after loading, packed ones as before."""

import copy
import json

import pytest
import torch
from safetensors import safe_open

from eat.backbones.tiny import tiny_config
from eat.models import quantization
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.fingerprint import model_fingerprint
from eat.models.sharing import all_off
from eat.modules.embeddings import Embeddings
from eat.ops import bf16
from eat.ops.bf16 import BF16_GAIN
from eat.ops.int8 import INT8_GAIN
from tests.made.models import make_batches, make_model

PRUNED = {"pruner": {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}}
OPTIONS = [
    {},
    {"head_pooling": "mean"},
    {"attention": {"name": "windowed", "window": 6}},
    {"pruner": {"name": "attention_received", "depths": [1], "ratio": 0.3}},
]


def int8_model(**options):
    return make_model(torch.float32, **options).quantize(anyway=True)


def bf16_model(**options):
    return make_model(torch.float32, **options).quantize("bf16", anyway=True)


def examples(number=32):
    (batch,) = make_batches(number, number)
    return batch["input_ids"], batch["lengths"]


def answers(model, ids, lengths):
    with torch.inference_mode():
        return model(ids, lengths=lengths, trace=True)


@pytest.mark.parametrize("options", OPTIONS)
def test_an_answer_never_depends_on_its_batch(options):
    model = int8_model(**options)
    ids, lengths = examples(64)
    together = answers(model, ids, lengths)
    alone = [answers(model, one, [len(one)]) for one in ids.split(lengths.tolist())]
    assert torch.equal(torch.cat([one.all_logits for one in alone]), together.all_logits)
    assert torch.equal(torch.cat([one.tokens_kept for one in alone]), together.tokens_kept)


def test_nor_on_a_neighbour_with_values_twenty_times_as_large(monkeypatch):
    model = int8_model(pruner={"name": "none"})
    ids, lengths = examples()
    before = answers(model, ids, lengths).all_logits
    embed, first = Embeddings.forward, int(lengths[0])

    def larger(self, *inputs):
        rows = embed(self, *inputs)
        rows[:first] *= 20
        return rows

    monkeypatch.setattr(Embeddings, "forward", larger)
    after = answers(model, ids, lengths).all_logits
    assert torch.equal(after[1:], before[1:]) and not torch.equal(after[0], before[0])


def test_answers_are_near_those_of_the_float_model():
    model = make_model(torch.float32, pruner={"name": "none"})
    exact, near = (answers(one, *examples()).all_logits for one in (model, model.quantize(anyway=True)))
    assert 0 < (exact - near).abs().max() < 0.05 * exact.abs().max()


def test_saved_and_loaded_it_answers_with_the_same_bits(tmp_path):
    model = int8_model()
    model.save_pretrained(tmp_path)
    engine = json.loads((tmp_path / "config.json").read_text())["engine"]
    assert engine == {"name": "int8", "activation_bits": model.config.engine["activation_bits"]}
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118  no mapping
    assert kinds["encoder.blocks.0.qkv.weight"] is kinds["encoder.embeddings.words.weight"] is torch.int8
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(answers(loaded, *examples()).all_logits, answers(model, *examples()).all_logits)
    assert model_fingerprint(loaded) == model_fingerprint(model)
    with pytest.raises(RuntimeError, match=r"^train: this model is int8"):
        loaded.train()


def test_a_file_has_at_most_035_of_the_size(tmp_path):
    config = tiny_config(vocab_size=2000, dim=64, intermediate_size=256)
    model = AdaptiveForSequenceClassification.from_backbone(config, seed=0)
    model.save_pretrained(tmp_path / "float32")
    model.quantize(anyway=True).save_pretrained(tmp_path / "int8")
    float32, int8 = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("float32", "int8"))
    assert int8 <= 0.35 * float32


def test_the_engine_in_config_json_is_checked(tmp_path):
    int8_model().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    saved = json.loads(path.read_text())
    for engine, message in (
        ({"name": "int4", "activation_bits": 8}, r"config.engine: expected none, name 'int8'"),
        ({"name": "int8", "activation_bits": 9}, r"config.engine: expected none, name 'int8'"),
        ({"name": "bf16", "activation_bits": 8}, r"config.engine: expected none, name 'int8'"),
        ({"name": "bf16"}, r"fingerprint differs"),
        ({"name": "int8", "activation_bits": 15 - saved["engine"]["activation_bits"]}, r"fingerprint differs"),
    ):
        path.write_text(json.dumps(saved | {"engine": engine}))
        with pytest.raises(ValueError, match=message):
            AdaptiveForSequenceClassification.from_pretrained(tmp_path)


def test_rows_of_bits_that_this_processor_cannot_multiply_are_said_to_be_slow(tmp_path, monkeypatch, caplog):
    int8_model().save_pretrained(tmp_path)
    monkeypatch.setattr(quantization, "is_exact", lambda bits: False)
    AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert "no exact fast product" in caplog.text


def test_other_parts_may_be_chosen():
    model = int8_model(**PRUNED)
    before = answers(model, *examples()).all_logits
    model.set_pruner(name="none")
    model.set_attention(name="windowed", window=6)
    model.set_exit(name="never")
    assert not torch.equal(answers(model, *examples()).all_logits, before)
    assert all(block.attention.equal_lengths for block in model.encoder.blocks)
    assert torch.equal(answers(all_off(model), *examples()).logits, answers(all_off(int8_model()), *examples()).logits)


def test_streams_answer_as_batches_do():
    model = int8_model(**PRUNED)
    ids, lengths = examples(20)
    rows = [{"input_ids": one.tolist()} for one in ids.split(lengths.tolist())]
    streamed = torch.stack([one.logits for one in model.predict_stream(rows, batch_size=4)])
    with torch.inference_mode():
        assert torch.equal(streamed, model(ids, lengths=lengths).logits)


def test_the_float_model_stays_as_it_is():
    model = make_model(torch.float32)
    before = model_fingerprint(model)
    model.quantize(anyway=True), model.pack()
    assert model_fingerprint(model) == before and model.train().training


def test_a_certificate_ends(caplog):
    model = make_model(torch.float32)
    model.config.certificate = {"exit": model.config.exit, "model": model_fingerprint(model)}
    twin = model.quantize(anyway=True)
    assert twin.config.certificate is None and "its weights were quantised to int8" in caplog.text
    assert twin.config.exit == {"name": "never"} and model.config.certificate is not None


@pytest.mark.parametrize(("gain", "converted"), [("1.05", False), ("1.2", True)])
@pytest.mark.parametrize("numbers", ["int8", "bf16"])
def test_a_model_stays_in_float32_where_others_gain_nothing(monkeypatch, caplog, numbers, gain, converted):
    monkeypatch.setenv("EAT_KERNELS", f"default,{numbers}_gain={gain}")
    measured = INT8_GAIN if numbers == "int8" else BF16_GAIN
    measured.forget()
    try:
        twin = make_model(torch.float32).quantize(numbers)
    finally:
        measured.forget()
    assert (twin.config.engine or {"name": None})["name"] == (numbers if converted else None)
    assert (f"{numbers} is no faster than float32 on this processor" in caplog.text) == (not converted)


def test_other_numbers_are_refused():
    with pytest.raises(ValueError, match=r"^quantize: expected one of .*'bf16', 'int8'.*, got 'int4'"):
        make_model(torch.float32).quantize("int4")


@pytest.mark.parametrize("options", OPTIONS)
def test_bf16_answers_are_near_those_of_the_float_model_alone_and_in_a_batch(options):
    model = make_model(torch.float32, **{"pruner": {"name": "none"}, **options})
    near, (ids, lengths) = model.quantize("bf16", anyway=True), examples()
    exact, together = answers(model, ids, lengths).all_logits, answers(near, ids, lengths).all_logits
    assert 0 < (exact - together).abs().max() < 0.005 * exact.abs().max()
    alone = torch.cat([answers(near, one, [len(one)]).all_logits for one in ids.split(lengths.tolist())])
    torch.testing.assert_close(alone, together, rtol=0, atol=0.001 * exact.abs().max().item())


def test_bf16_saved_and_loaded_answers_with_the_same_bits(tmp_path):
    model = bf16_model()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["engine"] == {"name": "bf16"}
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118  no mapping
    halves = {name.split(".", 3)[-1] for name, kind in kinds.items() if kind is torch.bfloat16}
    layers = ("qkv", "mixed", "inner", "outer")
    assert halves == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(answers(loaded, *examples()).all_logits, answers(model, *examples()).all_logits)
    assert model_fingerprint(loaded) == model_fingerprint(model)
    with pytest.raises(RuntimeError, match=r"^train: this model is bf16"):
        loaded.train()


def test_bf16_without_a_fast_product_answers_the_same_and_says_that_it_is_slow(tmp_path, monkeypatch, caplog):
    model = bf16_model()
    expected = answers(model, *examples()).all_logits
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(bf16, "is_fast", lambda: False)
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert "no fast product" in caplog.text
    torch.testing.assert_close(answers(loaded, *examples()).all_logits, expected, rtol=0.01, atol=0.01)


def test_bf16_weights_stay_so_on_a_cpu():
    model = bf16_model()
    with pytest.raises(ValueError, match="with bf16 weights keeps its other numbers in float32 on a CPU, got float64"):
        model.double()
    before = answers(model, *examples()).all_logits
    assert torch.equal(answers(model.to(device="cpu", dtype=torch.float32), *examples()).all_logits, before)
    assert model.encoder.blocks[0].qkv.weight.dtype is torch.bfloat16


@pytest.mark.parametrize("made", ["quantize", "pack"])
def test_what_is_made_for_inference_is_not_trained_or_resized(made):
    model = int8_model() if made == "quantize" else make_model(torch.float32).pack()
    name = "int8" if made == "quantize" else "packed"
    for act in (model.train, model.compile_blocks):
        with pytest.raises(RuntimeError, match=f"{act.__name__}: this model is {name}, for inference only"):
            act()
    with pytest.raises(RuntimeError, match=f"resize_token_embeddings: this model is {name}"):
        model.resize_token_embeddings(200)
    with pytest.raises(RuntimeError, match=f"set_input_embeddings: this model is {name}"):
        model.set_input_embeddings(torch.nn.Embedding(128, 32))
    with pytest.raises(ValueError, match=f"{made}: expected a float32 model as it was trained"):
        getattr(model, made)()
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_lora_is_refused():
    peft = pytest.importorskip("peft")
    model = int8_model()
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["qkv"])
    with pytest.raises((RuntimeError, ValueError), match="int8"):
        peft.get_peft_model(model, config)
    with pytest.raises(RuntimeError, match="add_adapter: this model is int8"):
        int8_model().add_adapter(config)


@pytest.mark.parametrize("made", ["quantize", "pack"])
def test_only_float32_on_a_cpu(made):
    with pytest.raises(ValueError, match=f"{made}: expected a float32 model on a CPU, got float64 on cpu"):
        getattr(make_model(torch.float64), made)()
    with pytest.raises(
        ValueError, match="a model with int8 weights keeps its other numbers in float32 on a CPU, got float64 on cpu"
    ):
        int8_model().double()


@pytest.mark.parametrize(("make", "kind"), [(int8_model, "an int8"), (bf16_model, "a bf16")])
def test_a_model_of_other_numbers_is_no_hugging_face_model_and_has_no_gradient(make, kind):
    model = make()
    with pytest.raises(RuntimeError, match=f"to_hugging_face: this model is {kind.split()[1]}"):
        model.to_hugging_face()
    with pytest.raises(RuntimeError, match=f"{kind} model has no gradients"):
        model.encoder.blocks[0].qkv(torch.ones(1, 32, requires_grad=True))


def test_a_packed_model_answers_as_before_and_is_saved_as_any(tmp_path):
    model = make_model(torch.float32)
    packed = model.pack()
    expected = answers(model, *examples())
    torch.testing.assert_close(answers(packed, *examples()).all_logits, expected.all_logits, rtol=1e-4, atol=1e-4)
    packed.save_pretrained(tmp_path)
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert model_fingerprint(loaded) == model_fingerprint(model) and loaded.train().training


def test_copies_share_what_was_made_of_the_weights_until_others_are_loaded():
    model = make_model(torch.float32).pack()
    answers(model, *examples())
    twin, other = copy.deepcopy(model), make_model(torch.float32, seed=1)
    layer = twin.encoder.blocks[0].qkv
    assert layer._made is model.encoder.blocks[0].qkv._made
    twin.load_state_dict(other.state_dict())
    expected = answers(other, *examples()).all_logits
    torch.testing.assert_close(answers(twin, *examples()).all_logits, expected, rtol=1e-4, atol=1e-4)
