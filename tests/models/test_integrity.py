"""Weights that are missing, broken, swapped or edited are refused in one line, through every door; all else loads."""

import functools
import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, pipeline

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.finished import FinishedRun
from tests.made.runs import write_run
from tests.models.test_saving import assert_identical, edit_config
from tests.reference.tiny import batch_of, tiny_adaptive

Model = AdaptiveForSequenceClassification
EXIT = {"name": "confidence", "threshold": 0.5237}
WEIGHTS, WORDS = "model.safetensors", "encoder.embeddings.words.weight"


@functools.cache
def tiny() -> Model:
    return tiny_adaptive(exit=EXIT)


@pytest.fixture
def saved(tmp_path):
    tiny().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def edit_weights(folder, change, file=WEIGHTS):
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file, metadata={"format": "pt"})


def without_fingerprint(folder):
    """A model as earlier versions saved it."""
    edit_config(folder, lambda config: config.pop("fingerprint"))
    return folder


def refused(message, load):
    with pytest.raises(ValueError, match=message) as error:
        load()
    assert "\n" not in str(error.value)
    return str(error.value)


def drop_some(weights):
    for name in [name for name in weights if name.startswith("encoder.heads.2.")]:
        del weights[name]


def spoil(value):
    def change(weights):
        weights["encoder.heads.2.out.bias"][0] = value

    return change


def other_values(weights):
    weights[WORDS][5, 0] += 1e-6


def other_dtype(weights):
    weights |= {name: tensor.half() for name, tensor in weights.items()}


FAULTS = {
    "missing": (drop_some, r"got none for 'encoder.heads.2.dense.bias', .* and 1 more; they would be random"),
    "extra": (lambda weights: weights.update(more=torch.ones(2)), r"got others besides: 'more'"),
    "shape": (lambda weights: weights.update({WORDS: weights[WORDS][:-1]}), rf"expected '{WORDS}' of shape \(48, 16\)"),
    "nan": (spoil(torch.nan), r"expected finite weights, got NaN or infinity in 'encoder.heads.2.out.bias'"),
    "infinity": (spoil(-torch.inf), r"expected finite weights, got NaN or infinity in 'encoder.heads.2.out.bias'"),
    "edited": (other_values, r"the weights are not those that were saved with this config.json"),
    "cast": (other_dtype, r"the weights are not those that were saved with this config.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_weights_are_refused(fault, saved):
    change, message = FAULTS[fault]
    edit_weights(saved, change)
    for door in (Model, AutoModelForSequenceClassification):
        said = refused(message, lambda door=door: door.from_pretrained(saved))
        assert said.startswith(f"{saved}: ")
    refused(message, lambda: Model.from_pretrained(saved, dtype=torch.bfloat16))
    refused(message, lambda: Model.from_pretrained(saved, output_loading_info=True))


@pytest.mark.parametrize("fault", ["missing", "nan", "edited"])
def test_a_pipeline_refuses_them_too(fault, saved):
    """Transformers collects what each of its classes said."""
    change, message = FAULTS[fault]
    edit_weights(saved, change)
    with pytest.raises(ValueError, match=message):
        pipeline("text-classification", model=str(saved), device="cpu")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_s_weights_are_checked_when_it_is_evaluated(fault, tmp_path):
    folder = write_run(tmp_path / "run")
    changes = {"shape": lambda weights: weights.update({WORDS: weights[WORDS][:-1]})}
    edit_weights(folder / "model", changes.get(fault, FAULTS[fault][0]))
    for certified in (True, False):
        with pytest.raises(ValueError, match=re.escape(f"{folder}/model: ")):
            FinishedRun(folder).load_model("cpu", certified=certified)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "nan", "infinity"])
def test_what_needs_no_fingerprint_is_refused_in_older_models_too(fault, saved):
    change, message = FAULTS[fault]
    edit_weights(without_fingerprint(saved), change)
    refused(message, lambda: Model.from_pretrained(saved))


def test_another_model_s_weights_are_refused(saved, tmp_path):
    other = tiny_adaptive(exit=EXIT, seed=1)
    other.save_pretrained(tmp_path / "other")
    (saved / WEIGHTS).write_bytes((tmp_path / "other" / WEIGHTS).read_bytes())
    said = refused("the weights are not those that were saved", lambda: Model.from_pretrained(saved))
    assert "remove 'fingerprint' from config.json" in said
    without_fingerprint(saved)
    assert_identical(other, Model.from_pretrained(saved), batch_of([9, 4]))


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["heads"].update(depths=[1, 3]),
        lambda config: config["heads"].update(pooling="mean"),
        lambda config: config["backbone"].update(num_layers=2) or config["heads"].update(depths=[1, 2]),
        lambda config: config["backbone"].update(num_heads=4),
        lambda config: config["backbone"].update(norm_eps=1e-5),
    ],
    ids=["depths", "pooling", "layers", "attention heads", "epsilon"],
)
def test_what_weights_were_trained_with_cannot_be_edited(change, saved):
    edit_config(saved, change)
    refused("'backbone' or 'heads' in config.json are not those", lambda: Model.from_pretrained(saved))


def test_fewer_layers_than_weights_are_refused_without_a_fingerprint_too(saved):
    edit_config(without_fingerprint(saved), lambda config: config["heads"].update(depths=[1, 3]))
    refused("got others besides: 'encoder.heads.2.dense.bias'", lambda: Model.from_pretrained(saved))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pruner", {"name": "random", "depths": [1], "ratio": 0.5}),
        ("attention", {"name": "windowed", "window": 4}),
        ("exit", {"name": "never"}),
        ("id2label", {0: "a", 1: "b", 2: "c"}),
    ],
)
def test_what_can_be_chosen_for_trained_weights_can_be_edited(key, value, saved, caplog):
    assert getattr(Model.from_pretrained(saved, **{key: value}).config, key) == value
    edit_config(saved, lambda config: config.update({key: value}))
    assert getattr(Model.from_pretrained(saved).config, key) == value
    assert not caplog.records


def test_an_older_model_loads_with_one_warning(saved, caplog):
    without_fingerprint(saved)
    for _ in range(2):
        loaded = Model.from_pretrained(saved)
    assert caplog.text.count("was saved without a fingerprint") == 1
    assert_identical(tiny(), loaded, batch_of([9, 4]))
    loaded.save_pretrained(saved)
    edit_weights(saved, other_values)
    refused("the weights are not those", lambda: Model.from_pretrained(saved))


def test_deliberate_changes_are_saved_with_their_own_fingerprint(saved, caplog):
    model = Model.from_pretrained(saved)
    with torch.no_grad():
        model.encoder.embeddings.words.weight.mul_(1.01)
    model.save_pretrained(saved)
    assert_identical(model, Model.from_pretrained(saved), batch_of([9, 4]))
    model.set_pruner(name="random", depths=[1], ratio=0.5)
    model.half().save_pretrained(saved)
    assert Model.from_pretrained(saved).dtype == torch.float16
    assert not caplog.records


def test_weights_given_to_save_are_those_that_count(saved):
    other = tiny_adaptive(exit=EXIT, seed=1)
    tiny().save_pretrained(saved, state_dict=other.state_dict())
    assert_identical(other, Model.from_pretrained(saved), batch_of([9, 4]))


def test_loaded_in_another_precision_what_lies_on_disk_is_compared(saved, caplog):
    assert Model.from_pretrained(saved, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert Model.from_pretrained(saved, dtype="float64").dtype == torch.float64
    assert not caplog.records


def test_shards_and_variants(tmp_path):
    tiny().save_pretrained(tmp_path, max_shard_size="10KB")
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    fingerprint = json.loads((tmp_path / "config.json").read_text())["fingerprint"]
    assert_identical(tiny(), Model.from_pretrained(tmp_path), batch_of([9, 4]))
    edit_weights(tmp_path, lambda weights: weights.update({n: t + 1 for n, t in weights.items()}), files[-1])
    refused("the weights are not those", lambda: Model.from_pretrained(tmp_path))
    tiny().save_pretrained(tmp_path, variant="plain")
    assert json.loads((tmp_path / "config.json").read_text())["fingerprint"] == fingerprint
    assert_identical(tiny(), Model.from_pretrained(tmp_path, variant="plain"), batch_of([9, 4]))


def test_weights_given_instead_of_files(saved):
    """A caller who brings the weights does not mean the saved ones; they must be whole all the same."""
    config, other = AutoConfig.from_pretrained(saved), tiny_adaptive(exit=EXIT, seed=1)
    loaded = Model.from_pretrained(None, config=config, state_dict=other.state_dict())
    assert_identical(other, loaded, batch_of([9, 4]))
    weights = {name: tensor for name, tensor in other.state_dict().items() if name != WORDS}
    refused(f"got none for '{WORDS}'", lambda: Model.from_pretrained(None, config=config, state_dict=weights))


def test_a_head_for_other_classes_is_asked_for(saved, caplog):
    """Hugging Face's way to give a model other labels; it says itself which weights it makes anew."""
    refused(r"of shape \(5, 16\).*ignore_mismatched_sizes", lambda: Model.from_pretrained(saved, num_labels=5))
    model = Model.from_pretrained(saved, num_labels=5, ignore_mismatched_sizes=True)
    assert model(*batch_of([9, 4])[:2]).logits.shape == (2, 5)
    words = dict(model.named_parameters())[WORDS]
    assert torch.equal(words, dict(tiny().named_parameters())[WORDS])


def test_damaged_files(saved):
    whole = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(whole[:-100])
    refused(f"{WEIGHTS} is damaged", lambda: Model.from_pretrained(saved))
    (saved / WEIGHTS).write_bytes(whole)
    for value in ("abc", {"weights": "abc"}, ["abc"]):
        edit_config(saved, lambda config, value=value: config.update(fingerprint=value))
        refused(
            "config.fingerprint: expected a mapping with 'weights' and 'shape'", lambda: Model.from_pretrained(saved)
        )


def test_the_fingerprint_is_about_files_and_stays_there(saved):
    model = Model.from_pretrained(saved)
    assert model.config.fingerprint is None and tiny().config.fingerprint is None
    assert "fingerprint" not in model.config.to_diff_dict()


def test_weights_that_came_past_the_check_are_said(saved, caplog, monkeypatch):
    monkeypatch.setattr(Model, "_load_pretrained_model", PreTrainedModel._load_pretrained_model)
    assert Model.from_pretrained(saved).config.fingerprint is None
    assert "weights were loaded from no file that can be checked" in caplog.text
