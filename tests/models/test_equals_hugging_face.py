"""Invariant 1: with everything off, the model is the Hugging Face model."""

import pytest
import torch
from hypothesis import given
from transformers import AutoModel, AutoModelForSequenceClassification, BertModel

from eat.backbones import BACKBONES
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.linear import ONEDNN_FROM
from tests.reference import strategies
from tests.reference.tiny import MODEL_TYPES, batch_of, pad_id, randomise, tiny_hugging_face, types_for

LENGTHS = [20, 3, 11, 1, 15]


@pytest.fixture(params=["torch's product", "oneDNN's product"], autouse=True)
def products(request, monkeypatch):
    """Tiny matrices would all go torch's way."""
    if request.param == "oneDNN's product":
        monkeypatch.setattr(ONEDNN_FROM, "value", lambda: 0.0)


every_backbone = pytest.mark.parametrize("model_type", MODEL_TYPES)


def theirs(hugging_face, ids, mask, types):
    arguments = {"input_ids": ids, "attention_mask": mask}
    if getattr(hugging_face.config, "type_vocab_size", 0) > 1:
        arguments["token_type_ids"] = types
    with torch.no_grad():
        return hugging_face(**arguments)


def ours(model, ids, mask, types):
    with torch.no_grad():
        return model(ids, mask, types_for(model, types))


def assert_same_logits(model, hugging_face, batch):
    actual, expected = ours(model, *batch).logits, theirs(hugging_face, *batch).logits
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def logits_at_first_live_column(hugging_face, ids, mask, types):
    """What Hugging Face's head says of the first live column; its own classifier reads column 0, here often padding."""
    name = hugging_face.config.model_type
    hidden = theirs(hugging_face.base_model, ids, mask, types).last_hidden_state
    first = hidden[torch.arange(len(ids)), mask.argmax(1)].unsqueeze(1)
    with torch.no_grad():
        if name == "bert":
            return hugging_face.classifier(hugging_face.bert.pooler(first))
        if name == "distilbert":
            return hugging_face.classifier(torch.relu(hugging_face.pre_classifier(first[:, 0])))
        if name == "albert":
            return hugging_face.classifier(torch.tanh(hugging_face.albert.pooler(first[:, 0])))
        if name == "modernbert":
            return hugging_face.classifier(hugging_face.head(first[:, 0]))
        return hugging_face.classifier(first)


@every_backbone
def test_right_padding(model_type):
    hugging_face = tiny_hugging_face(model_type)
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    assert_same_logits(model, hugging_face, batch_of(LENGTHS, pad=pad_id(model_type)))


@every_backbone
@given(lengths=strategies.lengths, seed=strategies.seeds)
def test_any_right_padded_batch(model_type, lengths, seed):
    hugging_face = SHARED[model_type]
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    assert_same_logits(model, hugging_face, batch_of(lengths, seed=seed, pad=pad_id(model_type)))


@every_backbone
@pytest.mark.parametrize("layout", ["left", "holes"])
def test_padding_anywhere(model_type, layout):
    hugging_face = tiny_hugging_face(model_type)
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    batch = batch_of(LENGTHS, layout, seed=5, pad=pad_id(model_type))
    expected = logits_at_first_live_column(hugging_face, *batch)
    torch.testing.assert_close(ours(model, *batch).logits, expected, rtol=0, atol=1e-5)


@every_backbone
def test_masked_words_that_are_not_padding(model_type):
    """A mask may hide real words; RoBERTa's positions still count them."""
    hugging_face = tiny_hugging_face(model_type)
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    ids, mask, types = batch_of([12, 12], seed=2, pad=pad_id(model_type))
    mask[0, [3, 4, 9]] = 0
    assert_same_logits(model, hugging_face, (ids, mask, types))


@every_backbone
def test_no_attention_mask(model_type):
    hugging_face = tiny_hugging_face(model_type)
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    ids, _, types = batch_of([9, 9, 9], pad=pad_id(model_type))
    with torch.no_grad():
        expected = hugging_face(input_ids=ids).logits
        torch.testing.assert_close(model(ids).logits, expected, rtol=0, atol=1e-5)
        boolean = model(ids, torch.ones_like(ids, dtype=torch.bool), types_for(model, torch.zeros_like(types)))
        torch.testing.assert_close(boolean.logits, expected, rtol=0, atol=1e-5)


def test_token_types_matter():
    hugging_face = tiny_hugging_face("bert")
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    ids, mask, types = batch_of([9, 9, 9, 9])
    assert not torch.equal(ours(model, ids, mask, types).logits, ours(model, ids, mask, torch.zeros_like(types)).logits)


@every_backbone
def test_first_layers_only(model_type):
    hugging_face = tiny_hugging_face(model_type, num_layers=3)
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face, num_layers=2)
    assert (model.num_layers, model.head_depths) == (2, (2,))
    cut = tiny_hugging_face(model_type, num_layers=2)
    weights = hugging_face.state_dict()
    cut.load_state_dict({name: weights[name] for name in cut.state_dict()})
    assert_same_logits(model, cut, batch_of(LENGTHS, pad=pad_id(model_type)))


@every_backbone
def test_to_hugging_face_is_the_inverse(model_type):
    hugging_face = tiny_hugging_face(model_type, num_labels=4)
    hugging_face.config.id2label = dict(enumerate("abcd"))
    model = AdaptiveForSequenceClassification.from_backbone(
        hugging_face, head_depths=[1], pruner={"name": "random", "depths": [1]}, attention={"name": "windowed"}
    )
    back = model.to_hugging_face()
    assert type(back) is type(hugging_face)
    assert back.config.id2label == dict(enumerate("abcd"))
    before, after = hugging_face.state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not back.training


@every_backbone
def test_fine_tuned_folder_brings_its_own_head_and_labels(model_type, tmp_path, caplog):
    hugging_face = tiny_hugging_face(model_type)
    hugging_face.config.id2label = {0: "no", 1: "maybe", 2: "yes"}
    hugging_face.save_pretrained(tmp_path)
    with caplog.at_level("INFO", logger="eat"):
        model = AdaptiveForSequenceClassification.from_backbone(str(tmp_path))
    assert "random" not in caplog.text
    assert model.config.id2label == {0: "no", 1: "maybe", 2: "yes"}
    assert model.config.label2id == {"no": 0, "maybe": 1, "yes": 2}
    assert_same_logits(model, hugging_face, batch_of(LENGTHS, pad=pad_id(model_type)))


@every_backbone
def test_encoder_folder_without_classifier(model_type, tmp_path, caplog):
    encoder = AutoModel.from_config(tiny_config(model_type))
    randomise(encoder)
    encoder.save_pretrained(tmp_path)
    with caplog.at_level("INFO", logger="eat"):
        model = AdaptiveForSequenceClassification.from_backbone(str(tmp_path), num_labels=3, seed=1)
    assert "'out' of the head at depth 4" in caplog.text
    has_pooler = BACKBONES[model_type].pooler_in_encoder
    assert ("'dense' of the head at depth 4" in caplog.text) != has_pooler
    hugging_face = model.to_hugging_face()
    kept = hugging_face.base_model.state_dict()
    unused = () if BACKBONES[model_type].pooler_in_encoder else ("pooler.",)  # the classifier has a layer of its own
    assert all(torch.equal(kept[n], tensor) for n, tensor in encoder.state_dict().items() if not n.startswith(unused))
    again = AdaptiveForSequenceClassification.from_backbone(str(tmp_path), num_labels=3, seed=1)
    batch = batch_of(LENGTHS, pad=pad_id(model_type))
    assert torch.equal(ours(model, *batch).logits, ours(again, *batch).logits)


def test_checkpoint_without_pooler(tmp_path, caplog):
    encoder = BertModel(tiny_config("bert"), add_pooling_layer=False)
    encoder.save_pretrained(tmp_path)
    for source in (encoder, str(tmp_path)):
        caplog.clear()
        with caplog.at_level("INFO", logger="eat"):
            model = AdaptiveForSequenceClassification.from_backbone(source, seed=1)
        assert "'dense' of the head at depth 4" in caplog.text
        assert float(model.encoder.heads["4"].dense.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_mean_pooling_leaves_the_checkpoints_head_alone(caplog):
    """A head that was trained to read [CLS] is no start for one that reads the mean."""
    with caplog.at_level("INFO", logger="eat"):
        AdaptiveForSequenceClassification.from_backbone(tiny_hugging_face(), head_pooling="mean")
    assert "'dense' of the head at depth 3" in caplog.text and "'out' of the head at depth 3" in caplog.text


def test_another_number_of_labels_starts_a_new_classifier(caplog):
    hugging_face = tiny_hugging_face(num_labels=3)
    with caplog.at_level("INFO", logger="eat"):
        model = AdaptiveForSequenceClassification.from_backbone(hugging_face, num_labels=5)
    assert "'out' of the head at depth 3" in caplog.text and "'dense'" not in caplog.text
    pooler = hugging_face.bert.pooler.dense.weight
    assert torch.equal(model.encoder.heads["3"].dense.weight, pooler)
    assert model.config.num_labels == 5


def test_from_config_is_random_and_seeded():
    config = tiny_config("bert")
    batch = batch_of(LENGTHS)
    one, same, other = (AdaptiveForSequenceClassification.from_backbone(config, seed=s) for s in (1, 1, 2))
    assert torch.equal(ours(one, *batch).logits, ours(same, *batch).logits)
    assert not torch.equal(ours(one, *batch).logits, ours(other, *batch).logits)


def test_seed_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    AdaptiveForSequenceClassification.from_backbone(tiny_config("bert"), seed=7)
    assert torch.equal(before, torch.get_rng_state())


def test_loading_in_training_mode_changes_nothing():
    """Building twice from one model does not share weights with it."""
    hugging_face = tiny_hugging_face()
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    with torch.no_grad():
        hugging_face.bert.embeddings.word_embeddings.weight.zero_()
    assert model.encoder.embeddings.words.weight.abs().sum() > 0


@every_backbone
def test_auto_class_of_theirs_loads_what_we_write_back(model_type, tmp_path):
    model = AdaptiveForSequenceClassification.from_backbone(tiny_hugging_face(model_type))
    model.to_hugging_face().save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert_same_logits(model, loaded, batch_of(LENGTHS, pad=pad_id(model_type)))


SHARED = {name: tiny_hugging_face(name) for name in MODEL_TYPES}
