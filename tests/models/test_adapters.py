"""peft's adapters: on every layer, merged without another answer, the heads trained and saved with them."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.reference.tiny import batch_of, tiny_adaptive

pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")

LABELS = torch.tensor([0, 2, 1])
TARGETS = [["qkv", "mixed", "outer"], ["inner"], ["dense"], ["words", "types"], "all-linear"]
BASE = tiny_adaptive()


def adapted(**options):
    options = {"task_type": TaskType.SEQ_CLS, "r": 4, "lora_alpha": 16, "target_modules": ["qkv"]} | options
    return get_peft_model(copy.deepcopy(BASE), LoraConfig(**options))


def train(model, steps=10):
    ids, mask, types = batch_of([9, 4, 6])
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=LABELS).loss.backward()
        optimizer.step()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad), "nothing idle is called trainable"
    return model.eval()


def answers(model):
    ids, mask, types = batch_of([9, 4, 6])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, token_type_ids=types, trace=True).all_logits


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        *[(targets, {}) for targets in TARGETS],
        *[(targets, {"task_type": None}) for targets in TARGETS],
        ("all-linear", {"task_type": None, "modules_to_save": ["heads"]}),
    ],
    ids=str,
)
def test_merged_saved_and_loaded_it_answers_the_same(targets, options, tmp_path):
    model = adapted(target_modules=targets, **options)
    before = answers(train(model))
    assert not torch.allclose(before, answers(BASE), atol=1e-3), "it learned something"
    model.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(copy.deepcopy(BASE), tmp_path / "adapter").eval()
    assert torch.equal(answers(loaded), before)
    merged = model.merge_and_unload().eval()
    torch.testing.assert_close(answers(merged), before, rtol=0, atol=1e-5)
    assert merged.state_dict().keys() == BASE.state_dict().keys(), "a merged model is one of ours"
    merged.save_pretrained(tmp_path / "merged")
    again = AdaptiveForSequenceClassification.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(answers(again), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("names", [None, ["heads"], ["heads.1", "heads.2", "heads.3"]])
def test_heads_train_with_a_sequence_classifiers_adapter(names):
    model = adapted(modules_to_save=names, target_modules="all-linear")
    heads = {name for name, p in model.named_parameters() if p.requires_grad and "heads" in name}
    assert len(heads) == 3 * 4 and not any("lora" in name for name in heads)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, steps=2)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert heads <= moved


def test_gelu_is_applied_behind_the_adapter():
    """An adapter of the first feed-forward layer equals the layer with the product added to its weight."""
    model = adapted(target_modules=["inner"], task_type=None)
    merged = copy.deepcopy(BASE)
    for block, plain in zip(model.base_model.model.encoder.blocks, merged.encoder.blocks, strict=True):
        a, b = block.inner.lora_A["default"].weight, block.inner.lora_B["default"].weight
        torch.nn.init.normal_(b, std=0.1)
        with torch.no_grad():
            plain.inner.weight += block.inner.scaling["default"] * b @ a
    torch.testing.assert_close(answers(model.eval()), answers(merged), rtol=0, atol=1e-5)


def test_adapters_train_with_gradient_checkpointing():
    model = adapted()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    model.enable_input_require_grads()
    train(model, steps=1)


def test_without_an_adapter_names_are_as_they_were():
    model = AdaptiveForSequenceClassification.from_backbone(tiny_config("bert"), num_labels=2, head_depths=[2], seed=0)
    names = {name for name, _ in model.named_parameters()}
    assert names == set(model.state_dict())
    assert {"encoder.heads.2.dense.weight", "encoder.heads.4.out.bias", "encoder.blocks.0.inner.weight"} <= names
    assert not any(name.startswith("classifier") for name, _ in model.named_modules())
    assert model.classifier is model.encoder.heads
