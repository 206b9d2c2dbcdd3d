"""Losses, the plain Hugging Face Trainer, and reduced precision."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from eat.exits import EXITS
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.losses import EARLY_WEIGHT
from tests.reference.tiny import MODEL_TYPES, batch_of, pad_id, tiny_adaptive, tiny_hugging_face, types_for

OPTIONS = {
    "attention": {"name": "windowed", "window": 4},
    "pruner": {"name": "attention_received", "depths": [1, 2], "ratio": 0.3},
    "exit": {"name": "confidence", "threshold": 0.5237},
}
LABELS = torch.tensor([0, 2, 1, 0, 1])
LENGTHS = [20, 3, 11, 1, 15]


def test_loss_in_evaluation_is_the_loss_of_the_exit_taken():
    model = tiny_adaptive(**OPTIONS)
    ids, mask, types = batch_of(LENGTHS)
    with torch.no_grad():
        output = model(ids, mask, types, labels=LABELS)
        traced = model(ids, mask, types, trace=True)
    taken = traced.all_logits[torch.arange(5), output.exit_depth - 1]
    by_hand = -sum(float(F.log_softmax(row, 0)[label]) for row, label in zip(taken, LABELS, strict=True)) / 5
    assert float(output.loss) == pytest.approx(by_hand, rel=1e-5)
    assert len(set(output.exit_depth.tolist())) > 1


def test_loss_in_training_is_joint_over_the_heads():
    model = tiny_adaptive(**OPTIONS).train()
    ids, mask, types = batch_of(LENGTHS)
    output = model(ids, mask, types, labels=LABELS)
    per_head = [float(F.cross_entropy(output.all_logits[:, head].detach(), LABELS)) for head in range(3)]
    expected = EARLY_WEIGHT * (per_head[0] + per_head[1]) + per_head[2]
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{}, OPTIONS])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_weight_gets_a_gradient(model_type, options):
    """But the first position and types table rows, which padding or no token uses, all parameters learn."""
    model = tiny_adaptive(model_type, **options, head_depths=[1, 2] if options else [])
    ids, mask, types = batch_of(LENGTHS, pad=pad_id(model_type))
    if options:
        model.train()
    model(ids, mask, types_for(model, types), labels=LABELS).loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    early = ("encoder.heads.1.", "encoder.heads.2.")
    assert [name for name in without if not name.startswith(early)] == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_gradients_equal_hugging_faces():
    """With everything off, the gradient of each weight is the one that Hugging Face's model gets."""
    hugging_face = tiny_hugging_face("bert").train()
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face).train()
    ids, mask, types = batch_of(LENGTHS)
    model(ids, mask, types, labels=LABELS).loss.backward()
    hugging_face(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=LABELS).loss.backward()
    ours = {name: parameter.grad for name, parameter in model.encoder.named_parameters()}
    theirs = {name: parameter.grad for name, parameter in hugging_face.named_parameters()}
    expected = {
        "embeddings.words.weight": theirs["bert.embeddings.word_embeddings.weight"],
        "embeddings.positions.weight": theirs["bert.embeddings.position_embeddings.weight"],
        "heads.3.dense.weight": theirs["bert.pooler.dense.weight"],
        "heads.3.out.bias": theirs["classifier.bias"],
    }
    for layer in range(3):
        attention = f"bert.encoder.layer.{layer}.attention.self"
        parts = [theirs[f"{attention}.{name}.weight"] for name in ("query", "key", "value")]
        expected[f"blocks.{layer}.qkv.weight"] = torch.cat(parts)
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-6)


def test_regression():
    model = tiny_adaptive(num_labels=1, pruner=OPTIONS["pruner"])
    ids, mask, types = batch_of(LENGTHS)
    targets = torch.tensor([0.5, 1.5, -2.0, 3.0, 0.0])
    with torch.no_grad():
        output = model(ids, mask, types, labels=targets)
    assert output.logits.shape == (5, 1)
    assert float(output.loss) == pytest.approx(float(F.mse_loss(output.logits[:, 0], targets)))
    output = model.train()(ids, mask, types, labels=targets)
    per_head = [F.mse_loss(output.all_logits[:, head, 0], targets).item() for head in range(3)]
    assert output.loss.item() == pytest.approx(EARLY_WEIGHT * sum(per_head[:2]) + per_head[2], rel=1e-5)


@pytest.mark.parametrize("name", sorted(name for name, part in EXITS.items() if part.needs_classes))
def test_regression_refuses_criteria_on_class_probabilities(name):
    with pytest.raises(ValueError, match=rf"exit\.name: '{name}' needs class probabilities, .*num_labels=1"):
        tiny_adaptive(num_labels=1, exit={"name": name})
    model = tiny_adaptive(num_labels=1)
    with pytest.raises(ValueError, match="needs class probabilities"):
        model.set_exit(name=name)


def test_regression_leaves_by_difference():
    model = tiny_adaptive(num_labels=1, exit={"name": "difference", "threshold": 100.0})
    with torch.no_grad():
        assert model(*batch_of(LENGTHS)).exit_depth.tolist() == [2] * 5


def test_labels_of_another_length_are_refused():
    model = tiny_adaptive()
    ids, mask, _ = batch_of(LENGTHS)
    with pytest.raises(ValueError, match=r"labels: expected one per example, .*or \(5, 1\), got shape \(4,\)"):
        model(ids, mask, labels=LABELS[:4])


class Sentences(Dataset):
    """Sentences whose label is whether the word 7 occurs."""

    def __init__(self, size):
        generator = torch.Generator().manual_seed(0)
        self.rows = torch.randint(8, 40, (size, 10), generator=generator)
        self.rows[:, 0], self.rows[::2, 4] = 2, 7

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {
            "input_ids": self.rows[index],
            "attention_mask": torch.ones(10, dtype=torch.long),
            "labels": int(index % 2 == 0),
        }


@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
def test_hugging_face_trainer(tmp_path):
    model = tiny_adaptive(num_labels=2, **OPTIONS)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=60,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=7,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
        logging_steps=10,
        save_steps=60,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    seen = {}

    def metrics(prediction):
        seen["logits"] = prediction.predictions
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = Trainer(
        model=model, args=arguments, train_dataset=Sentences(64), eval_dataset=Sentences(20), compute_metrics=metrics
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    result = trainer.evaluate()
    assert seen["logits"].shape == (20, 2), "depths and counts are not gathered as if they were logits"
    assert result["eval_accuracy"] > 0.9
    loaded = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "checkpoint-60")
    ids, mask, _ = batch_of(LENGTHS)
    with torch.no_grad():
        assert torch.equal(loaded(ids, mask).logits, model.eval()(ids, mask).logits)


def test_return_dict_false_gives_a_tuple():
    model = tiny_adaptive(**OPTIONS)
    ids, mask, types = batch_of(LENGTHS)
    with torch.no_grad():
        output = model(ids, mask, types, labels=LABELS)
        loss, logits, depth, kept = model(ids, mask, types, labels=LABELS, return_dict=False)
        without_loss = model(ids, mask, types, return_dict=False)
    assert torch.equal(loss, output.loss) and torch.equal(logits, output.logits)
    assert torch.equal(depth, output.exit_depth) and torch.equal(kept, output.tokens_kept)
    assert torch.equal(without_loss[0], logits)
    model.config.return_dict = False
    assert isinstance(model(ids, mask, types), tuple)


@pytest.mark.parametrize("argument", ["output_attentions", "output_hidden_states", "inputs_embeds"])
def test_what_cannot_be_given_is_refused(argument):
    model = tiny_adaptive()
    ids, mask, _ = batch_of(LENGTHS)
    value = torch.zeros(5, 20, 16) if argument == "inputs_embeds" else True
    with pytest.raises(ValueError, match=rf"{argument}: not supported"):
        model(ids, mask, **{argument: value})
    if argument != "inputs_embeds":
        model(ids, mask, **{argument: False})


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_bfloat16_autocast_on_cpu(model_type, pooling):
    model = tiny_adaptive(model_type, head_pooling=pooling, max_length=220, **OPTIONS)
    ids, mask, types = batch_of([200, *LENGTHS], pad=pad_id(model_type))
    types = types_for(model, types)
    labels = torch.cat((LABELS, LABELS[:1]))
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            output = model(ids, mask, types)
        model.train()(ids, mask, types, labels=labels).loss.backward()
    with torch.no_grad():
        exact = model.eval()(ids, mask, types, trace=True)
    assert output.logits.isfinite().all()
    assert output.tokens_kept[:, 0].tolist() == [200, *LENGTHS]
    taken = exact.all_logits[torch.arange(6), output.exit_depth - 1]
    assert float((output.logits - taken).abs().mean()) < 0.3, "rounding and another token pruned, nothing worse"
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_bfloat16_weights():
    model = tiny_adaptive(**OPTIONS).bfloat16()
    ids, mask, types = batch_of(LENGTHS)
    with torch.no_grad():
        assert model(ids, mask, types).logits.isfinite().all()


def test_inference_mode():
    model = tiny_adaptive(max_length=220, **OPTIONS)
    ids, mask, types = batch_of([200, *LENGTHS])
    with torch.no_grad():
        expected = model(ids, mask, types)
    with torch.inference_mode():
        output = model(ids, mask, types)
    assert torch.equal(output.logits, expected.logits)
    model.train()(ids, mask, types).logits.sum().backward()  # nothing made in inference mode was kept


def test_dropout_acts_in_training_only():
    config = tiny_hugging_face(dropout=0.3)
    model = AdaptiveForSequenceClassification.from_backbone(config)
    ids, mask, types = batch_of(LENGTHS)
    assert torch.equal(model(ids, mask, types).logits, model(ids, mask, types).logits)
    model.train()
    assert not torch.equal(model(ids, mask, types).logits, model(ids, mask, types).logits)
