"""What Hugging Face's tools ask of a model: embeddings, checkpointing, a loss of their own, a score that stays one."""

import inspect
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import Trainer, TrainingArguments

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import head_options
from tests.models.test_training import LABELS, LENGTHS, OPTIONS, Sentences
from tests.reference.tiny import VOCABULARY, batch_of, tiny_adaptive


def gradients(model, batch):
    model.zero_grad()
    torch.manual_seed(0)
    model(*batch, labels=LABELS).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_gradient_checkpointing_gives_equal_gradients(options, dropout, reentrant):
    model = tiny_adaptive(**options).train()
    for block in model.encoder.blocks:
        block.dropout = block.attention_dropout = dropout
    batch = batch_of(LENGTHS)
    plain = gradients(model, batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    runs = []
    for block in model.encoder.blocks:
        block.register_forward_pre_hook(lambda *_: runs.append(1))
    again = gradients(model, batch)
    assert len(runs) == 2 * len(model.encoder.blocks), "each block ran again for the gradient"
    assert again.keys() == plain.keys() and all(torch.equal(again[name], plain[name]) for name in plain)


def test_gradient_checkpointing_keeps_less():
    def kept(model):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()), lambda _: None):
            model(*batch_of(LENGTHS), labels=LABELS)
        return sum(sizes)

    model = tiny_adaptive(**OPTIONS).train()
    plain = kept(model)
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # its newer name
    assert kept(model) < 0.5 * plain


def test_a_resized_vocabulary_is_saved(tmp_path):
    model = tiny_adaptive()
    batch = batch_of(LENGTHS)
    before = model(*batch).logits
    assert model.get_input_embeddings() is model.encoder.embeddings.words
    model.resize_token_embeddings(VOCABULARY + 12, mean_resizing=False)
    assert model.config.vocab_size == model.backbone.vocab_size == VOCABULARY + 12
    assert torch.equal(model(*batch).logits, before)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["backbone"]["vocab_size"] == VOCABULARY + 12 and "vocab_size" not in config
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    new = torch.tensor([[2, VOCABULARY + 11, 4]])
    assert torch.equal(loaded(new).logits, model(new).logits)
    [prediction] = loaded.predict_stream([{"input_ids": new[0]}])
    torch.testing.assert_close(prediction.logits, model(new).logits[0])
    with pytest.raises(ValueError, match=rf"token ids in \[0, {VOCABULARY + 12}\)"):
        loaded(new + 1)


def test_a_regression_says_so():
    assert tiny_adaptive(num_labels=1).config.problem_type == "regression"
    assert tiny_adaptive(num_labels=3).config.problem_type is None


class Weighted(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        output = model(**inputs)
        loss = F.cross_entropy(output.logits, inputs["labels"], weight=torch.tensor([1.0, 3.0]))
        return (loss, output) if return_outputs else loss


def own_loss(output, labels, num_items_in_batch=None):
    return F.cross_entropy(output["logits"], labels)


@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning", "ignore:.*checkpointing.*:FutureWarning")
@pytest.mark.parametrize(
    ("trainer", "options", "settings"),
    [
        (Trainer, {}, {"label_smoothing_factor": 0.1}),
        (Trainer, {}, {"gradient_checkpointing": True}),
        (Trainer, {"compute_loss_func": own_loss}, {}),
        (Weighted, {}, {}),
    ],
    ids=["smoothing", "checkpointing", "compute_loss_func", "compute_loss"],
)
def test_every_head_learns_whichever_loss_the_trainer_computes(trainer, options, settings, tmp_path):
    model = tiny_adaptive(num_labels=2, **OPTIONS)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=60, per_device_train_batch_size=16, learning_rate=5e-3, report_to=[],
        lr_scheduler_type="constant", save_strategy="no", use_cpu=True, disable_tqdm=True, seed=0, **settings,
    )  # fmt: skip
    trainer(model=model, args=arguments, train_dataset=Sentences(64), **options).train()
    rows = Sentences(64)
    with torch.no_grad():
        all_logits = model.eval()(rows.rows, trace=True).all_logits
    right = all_logits.argmax(2) == torch.tensor([rows[i]["labels"] for i in range(64)])[:, None]
    assert (right.float().mean(0) > 0.9).all(), "the first head, which sees one block, as well"


def test_logits_in_training_are_of_drawn_heads():
    model = tiny_adaptive(**OPTIONS).train()
    ids, mask, types = batch_of([7] * 200)
    torch.manual_seed(0)
    output = model(ids, mask, types)
    drawn = (output.logits[:, None] == output.all_logits).all(2)
    assert (drawn.sum(1) == 1).all()
    share = drawn.float().mean(0)
    torch.testing.assert_close(share, torch.tensor([0.3, 0.3, 1.0]) / 1.6, rtol=0, atol=0.1)
    traced = model(ids, mask, types, trace=True)
    assert torch.equal(traced.logits, traced.all_logits[:, -1]), "a trace is as it was"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_labels_as_a_column(num_labels, training):
    model = tiny_adaptive(num_labels=num_labels).train(training)
    batch = batch_of(LENGTHS)
    labels = LABELS if num_labels == 3 else LABELS / 3
    assert model(*batch, labels=labels[:, None]).loss.tolist() == model(*batch, labels=labels).loss.tolist()
    if num_labels == 3:
        assert torch.equal(model(*batch, labels=labels.int()).loss, model(*batch, labels=labels).loss)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("num_labels", "labels", "message"),
    [
        (3, torch.tensor([0, 1, 2, 0, 3]), r"labels: expected class indices in \[0, 3\), got 0 to 3"),
        (3, torch.tensor([0, 1, 2, 0, -100]), r"labels: expected class indices in \[0, 3\), got -100 to 2"),
        (3, torch.tensor([0.0, 1, 2, 0, 1]), r"labels: expected class indices, .*got dtype torch.float32"),
        (3, torch.zeros(5, 3), r"labels: expected one per example, of shape \(5,\) or \(5, 1\), got shape \(5, 3\)"),
        (1, torch.tensor([0.0, 1, torch.nan, 0, 1]), "labels: expected finite numbers, got nan"),
        (1, torch.zeros(5, 5), r"got shape \(5, 5\)"),
    ],
)
def test_labels_that_cannot_be(num_labels, labels, message, training):
    model = tiny_adaptive(num_labels=num_labels).train(training)
    with pytest.raises(ValueError, match=message):
        model(*batch_of(LENGTHS), labels=labels)


def test_numpy_numbers_as_options(tmp_path):
    model = tiny_adaptive(
        num_labels=3,
        exit={"name": "confidence", "threshold": np.float32(0.5)},
        pruner={"name": "l2_norm", "depths": np.array([2]), "ratio": np.float64(0.3)},
    )
    model.set_temperatures(list(np.array([1.0, 2.0, 3.0])))
    model.set_exit(name="patience", patience=np.int64(1))
    model.save_pretrained(tmp_path)  # as JSON
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.pruner == {"name": "l2_norm", "depths": [2], "ratio": 0.3}
    assert loaded.config.exit == {"name": "patience", "patience": 1} and loaded.temperatures == (1.0, 2.0, 3.0)
    assert inspect.unwrap(head_options)(np.array([1, 2]), 3, False, "cls", None)["depths"] == [1, 2, 3]
