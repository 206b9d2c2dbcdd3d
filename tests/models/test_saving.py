"""Invariant 7: saved and loaded, by us and by Hugging Face's own doors, bit for bit."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    pipeline,
)

import eat  # noqa: F401  registers the model with transformers
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import AdaptiveConfig
from tests.reference.tiny import MODEL_TYPES, batch_of, pad_id, tiny_adaptive, tiny_hugging_face, types_for

OPTIONS = {
    "attention": {"name": "windowed", "window": 4, "global_tokens": ["cls", "sep"]},
    "pruner": {"name": "attention_received", "depths": [1, 2], "ratio": [0.3, 0.2]},
    "exit": {"name": "confidence", "threshold": 0.5237},
    "head_pooling": "mean",
    "id2label": {0: "no", 1: "maybe", 2: "yes"},
}
PER_CLASS = {"name": "confidence", "threshold": [0.5237, 0.3719, 0.6113]}
LENGTHS = [20, 3, 11, 1, 15]


def classify(model, batch):
    with torch.no_grad():
        return model(*batch[:2], types_for(model, batch[2]))


def assert_identical(one, other, batch):
    expected, actual = classify(one, batch), classify(other, batch)
    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.exit_depth, expected.exit_depth)
    assert torch.equal(actual.tokens_kept, expected.tokens_kept)


def edit_config(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_save_and_load(model_type, tmp_path):
    model = tiny_adaptive(model_type, **OPTIONS)
    model.save_pretrained(tmp_path)
    batch = batch_of(LENGTHS, pad=pad_id(model_type))
    for door in (AdaptiveForSequenceClassification, AutoModelForSequenceClassification):
        loaded = door.from_pretrained(tmp_path)
        assert type(loaded) is AdaptiveForSequenceClassification
        assert not loaded.training
        assert_identical(model, loaded, batch)
        assert loaded.config.id2label == OPTIONS["id2label"]
        assert loaded.head_depths == model.head_depths
        weights = loaded.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_config_holds_names_and_arguments(tmp_path):
    tiny_adaptive(**OPTIONS).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "eat"
    assert {key: config[key] for key in ("attention", "pruner", "exit")} == {
        key: OPTIONS[key] for key in ("attention", "pruner", "exit")
    }
    assert config["heads"] == {"depths": [1, 2, 3], "pooling": "mean"}
    assert config["backbone"]["name"] == "bert" and config["backbone"]["dim"] == 16
    assert isinstance(AutoConfig.from_pretrained(tmp_path), AdaptiveConfig)


def test_a_threshold_per_class_is_saved(tmp_path):
    model = tiny_adaptive(**OPTIONS | {"exit": PER_CLASS})
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["exit"] == PER_CLASS
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.exit_criterion.threshold == tuple(PER_CLASS["threshold"])
    assert_identical(model, loaded, batch_of(LENGTHS))


def test_a_later_operating_point_is_saved(tmp_path):
    model = tiny_adaptive(**OPTIONS)
    model.set_exit(name="patience", patience=1)
    model.set_pruner(name="random", depths=[2], ratio=0.5, seed=3)
    model.set_attention(name="full")
    model.save_pretrained(tmp_path)
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.exit == {"name": "patience", "patience": 1}
    assert loaded.config.pruner == {"name": "random", "depths": [2], "ratio": 0.5, "seed": 3}
    assert loaded.config.attention == {"name": "full"}
    assert_identical(model, loaded, batch_of(LENGTHS))


def test_save_load_save_changes_nothing(tmp_path):
    tiny_adaptive(**OPTIONS).save_pretrained(tmp_path / "a")
    AdaptiveForSequenceClassification.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.fixture
def tokenizer():
    words = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]"]
    words += ["a", "good", "bad", "film", "plot", "the", "is", "was", "not", "very", "so", "of", "and", "it"]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 4)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=40,
    )  # fmt: skip


def test_pipeline(tokenizer, tmp_path):
    model = tiny_adaptive(**OPTIONS)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["a good film", "the plot was not very good and so bad", "it"]
    classifier = pipeline("text-classification", model=str(tmp_path), tokenizer=str(tmp_path), device="cpu")
    answers = classifier(texts, batch_size=3)
    batch = AutoTokenizer.from_pretrained(tmp_path)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**batch).logits.softmax(-1)
    for answer, row in zip(answers, probabilities, strict=True):
        assert answer["label"] == OPTIONS["id2label"][int(row.argmax())]
        assert answer["score"] == pytest.approx(float(row.max()))
    assert [answer["label"] for answer in classifier(texts)] == [answer["label"] for answer in answers]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_pipeline_says_where_each_text_left(tokenizer, tmp_path, batch_size):
    model = tiny_adaptive(**OPTIONS)
    texts = ["a good film", "the plot was not very good and so bad", "it"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        model.set_exit(name="never")
        first = model(**batch, trace=True).all_logits[:, 0].softmax(-1).amax(-1)
        model.set_exit(name="confidence", threshold=float(first.sort().values[1]))
        expected = model(**batch)
    assert len(set(expected.exit_depth.tolist())) > 1
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classify = pipeline("adaptive-text-classification", model=str(tmp_path), device="cpu")
    answers = classify(texts, batch_size=batch_size)
    plain = pipeline("text-classification", model=str(tmp_path), device="cpu")(texts)
    assert [{"label": one["label"], "score": one["score"]} for one in answers] == [
        {"label": one["label"], "score": pytest.approx(one["score"], abs=1e-6)} for one in plain
    ]
    assert [one["exit_depth"] for one in answers] == expected.exit_depth.tolist()
    assert [one["retention"] for one in answers] == pytest.approx(expected.retention.tolist())
    several = classify(texts[:1], top_k=None)[0]
    assert len(several) == 3 and {one["exit_depth"] for one in several} == {answers[0]["exit_depth"]}
    assert classify(texts[0])[0] == pytest.approx(answers[0])


def test_the_adaptive_pipeline_is_for_our_models(tokenizer):
    theirs = tiny_adaptive(**OPTIONS).to_hugging_face()
    with pytest.raises(ValueError, match=r"pipeline 'adaptive-text-classification', got \w+, which runs every text"):
        pipeline("adaptive-text-classification", model=theirs, tokenizer=tokenizer, device="cpu")


def test_foreign_config_names_from_backbone(tmp_path):
    tiny_hugging_face().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model_type 'bert'.*from_backbone"):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [
        ("pruner", "ratios", r"pruner\.ratios: pruner 'attention_received' takes .*did you mean 'ratio'"),
        ("exit", "treshold", r"exit\.treshold: exit 'confidence' takes .*did you mean 'threshold'"),
        ("attention", "windows", r"attention\.windows: .*did you mean 'window'"),
        ("backbone", "hidden", r"backbone\.hidden: "),
        ("heads", "depth", r"config\.heads: expected the keys 'depths'"),
    ],
)
def test_misspelt_key_in_config_json(part, key, message, tmp_path):
    tiny_adaptive(**OPTIONS).save_pretrained(tmp_path)
    edit_config(tmp_path, lambda config: config[part].update({key: 1}))
    with pytest.raises(ValueError, match=message):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path)


def test_misspelt_part_in_config_json(tmp_path):
    """A key of ours at the top level that is misspelt leaves the right one missing; that fails too."""
    tiny_adaptive(**OPTIONS).save_pretrained(tmp_path)
    edit_config(tmp_path, lambda config: config.update({"prunner": config.pop("pruner")}))
    with pytest.raises(ValueError, match=r"config\.pruner: expected a mapping, got None"):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path)


def test_a_config_cannot_name_an_import(tmp_path):
    tiny_adaptive(**OPTIONS).save_pretrained(tmp_path)
    edit_config(tmp_path, lambda config: config.update({"pruner": {"name": "os.system", "command": "true"}}))
    with pytest.raises(ValueError, match=r"pruner\.name: expected one of \["):
        AdaptiveForSequenceClassification.from_pretrained(tmp_path)


def test_float64_survives(tmp_path):
    model = tiny_adaptive().double()
    model.save_pretrained(tmp_path)
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float64
    assert_identical(model, loaded, batch_of(LENGTHS))
