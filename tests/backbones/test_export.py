"""The plain Hugging Face model that a model of ours exports answers as it does with everything off."""

import dataclasses
import pickle

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from eat.backbones import BACKBONES
from eat.backbones.mean_pooled import MeanPooledForSequenceClassification
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off
from tests.made.pairs import pairs_first

every_backbone = pytest.mark.parametrize("model_type", sorted(BACKBONES))
PARTS = {
    "attention": {"name": "windowed", "window": 4, "global_tokens": ["cls", "sep"]},
    "pruner": {"name": "l2_norm", "depths": [1], "ratio": 0.5},
    "sep_token_id": 7,
}
PROBLEMS = {
    "classes": {"num_labels": 3, "exit": {"name": "confidence", "threshold": 0.5}},
    "named classes, divided logits": {"id2label": {0: "no", 1: "yes"}},
    "regression": {"num_labels": 1, "problem_type": "regression"},
    "one output": {"num_labels": 1},
}
POOLINGS = {"cls": {"head_pooling": "cls"}, "mean": {"head_pooling": "mean"}}
POOLINGS |= {"early cls, final mean": {"head_pooling": "cls", "final_head_pooling": "mean"}}


def adaptive(model_type: str, pooling: str, problem: str, **more: object) -> AdaptiveForSequenceClassification:
    """Build a model with everything on whose heads answer decidedly; positions are tiled."""
    options = PARTS | POOLINGS[pooling] | PROBLEMS[problem] | {"head_depths": [1, 2], "max_length": 200} | more
    model = AdaptiveForSequenceClassification.from_backbone(tiny_config(model_type, num_layers=3), seed=0, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    if "divided" in problem:
        model.set_temperatures([1.0, 2.0, 2.5])
    return model


def padded_batch(model: AdaptiveForSequenceClassification) -> dict[str, torch.Tensor]:
    """Pad sequences of many lengths to the right; some hold the separator."""
    generator, lengths = torch.Generator().manual_seed(1), torch.tensor([180, 3, 40, 1, 25])
    ids = torch.randint(5, 128, (5, 180), generator=generator)
    mask = (torch.arange(180) < lengths.unsqueeze(1)).long()
    batch = {"input_ids": torch.where(mask.bool(), ids, model.backbone.pad_token_id), "attention_mask": mask}
    if model.backbone.num_types > 1:
        batch["token_type_ids"] = torch.randint(0, 2, ids.shape, generator=generator) * mask
    return batch


@pytest.mark.parametrize(("model_type", "pooling", "problem"), pairs_first(sorted(BACKBONES), POOLINGS, PROBLEMS))
def test_the_plain_model_answers_as_ours_with_everything_off(model_type, pooling, problem, tmp_path):
    model = adaptive(model_type, pooling, problem)
    plain, batch = model.to_hugging_face(), padded_batch(model)
    own = pooling == "cls" or BACKBONES[model_type].pooling_key is not None
    assert isinstance(plain, MeanPooledForSequenceClassification) != own
    plain.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is type(plain) and loaded.config.id2label == model.config.id2label
    assert (loaded.config.problem_type == "regression") == (model.config.num_labels == 1)
    short = {key: value[:, :1] for key, value in batch.items() if key != "attention_mask"}
    with torch.inference_mode():
        for inputs in (batch, short):
            expected = all_off(model)(**inputs).logits
            assert expected.std() > 0.02
            for one in (plain, loaded, pickle.loads(pickle.dumps(plain))):
                torch.testing.assert_close(one(**inputs).logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_weights_keep_their_precision(pooling):
    model = adaptive("bert", pooling, "named classes, divided logits").double()
    model.set_temperatures([1.0, 2.0, 0.86])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)  # no number of single precision
    plain, batch = model.to_hugging_face(), padded_batch(model)
    assert plain.dtype == torch.float64
    with torch.inference_mode():
        torch.testing.assert_close(plain(**batch).logits, all_off(model)(**batch).logits, rtol=0, atol=1e-12)


@every_backbone
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_plain_model_comes_back(model_type, pooling, tmp_path):
    model = adaptive(model_type, pooling, "classes")
    plain = model.to_hugging_face()
    plain.save_pretrained(tmp_path)
    batch = padded_batch(model)
    for source in (plain, str(tmp_path)):
        again = AdaptiveForSequenceClassification.from_backbone(source)
        assert again.config.head_pooling(3) == ("cls" if pooling == "cls" else "mean")
        with torch.inference_mode():
            torch.testing.assert_close(again(**batch).logits, all_off(model)(**batch).logits, rtol=0, atol=1e-5)


def test_a_mean_head_is_not_taken_for_one_that_reads_cls(caplog):
    plain = adaptive("bert", "mean", "classes").to_hugging_face()
    with caplog.at_level("INFO", logger="eat"):
        AdaptiveForSequenceClassification.from_backbone(plain, head_pooling="cls")
    assert "'dense' of the head at depth 3" in caplog.text and "'out' of the head at depth 3" in caplog.text
    with pytest.raises(ValueError, match="final_head_pooling: this checkpoint's own head reads the mean"):
        AdaptiveForSequenceClassification.from_backbone(plain, head_pooling="cls", final_head_pooling="cls")


@every_backbone
def test_the_mean_pooled_model_trains_as_hugging_faces_do(model_type):
    model = adaptive(model_type, "mean", "classes").to_hugging_face().train()
    batch = padded_batch(adaptive(model_type, "mean", "classes"))
    output = model(**batch, labels=torch.tensor([0, 1, 2, 1, 0]))
    expected = torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2, 1, 0]))
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    hidden = model.eval()(**batch, output_hidden_states=True, return_dict=False)
    assert [type(part) for part in hidden] == [torch.Tensor, tuple]


def test_a_mean_pooled_folder_says_what_it_needs(tmp_path):
    adaptive("bert", "mean", "classes").to_hugging_face().save_pretrained(tmp_path)
    assert (
        AutoConfig.from_pretrained(tmp_path).model_type == "eat_mean_pooled"
    )  # not bert, whose class would read [CLS]
    with pytest.raises(ValueError, match=r"config\.encoder\.model_type: expected one of .* got 'gpt2'"):
        AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model("eat_mean_pooled", encoder={"model_type": "gpt2"})
        )


def test_a_shape_that_hugging_face_cannot_have_is_refused():
    model = adaptive("distilbert", "cls", "classes")
    model.backbone = dataclasses.replace(model.backbone, norm_eps=1e-5)
    with pytest.raises(ValueError, match=r"to_hugging_face: Hugging Face's distilbert cannot have norm_eps=1e-05 \(it"):
        model.to_hugging_face()
