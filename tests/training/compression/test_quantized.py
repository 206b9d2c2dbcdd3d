"""Quantisation-aware training computes as the int8 engine does, layer by layer, and learns past the rounding."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from eat import AdaptiveForSequenceClassification
from eat.modules.fake_quantized import FakeQuantizedEmbedding, FakeQuantizedLinear
from eat.modules.linear import Linear
from eat.modules.quantized import QuantizedEmbedding, QuantizedLinear
from eat.ops.int8 import BITS
from eat.testing.models import make_model
from eat.testing.tiny import tiny_adaptive
from tests.training.made import make_compression, make_objective
from tests.training.small import fit


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("gelu", [False, True])
def test_a_layer_gives_what_the_int8_engine_gives(bits, gelu):
    torch.manual_seed(0)
    layer, rows = Linear(32, 48), 3 * torch.randn(7, 32)
    fake = FakeQuantizedLinear(layer, bits)
    torch.testing.assert_close(fake(rows, gelu=gelu), layer(rows, gelu=gelu), rtol=0, atol=0)
    fake.active = True
    expected = QuantizedLinear(layer, bits)(rows, gelu=gelu)
    torch.testing.assert_close(fake(rows, gelu=gelu), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(layer(rows, gelu=gelu), expected, atol=1e-4)


@pytest.mark.parametrize("bits", BITS)
def test_a_layer_rounds_as_the_rule_says(bits):
    torch.manual_seed(1)
    layer, rows = Linear(5, 3), torch.randn(4, 5)
    fake = FakeQuantizedLinear(layer, bits)
    fake.active = True
    top, weight, x = 2 ** (bits - 1) - 1, layer.weight.detach().double().numpy(), rows.double().numpy()
    expected = np.zeros((4, 3))
    for row in range(4):
        step = np.abs(x[row]).max() / top
        for output in range(3):
            scale = np.abs(weight[output]).max() / 127
            for i in range(5):
                expected[row, output] += step * np.rint(x[row, i] / step) * scale * np.rint(weight[output, i] / scale)
    np.testing.assert_allclose(fake(rows).detach().numpy(), expected + layer.bias.detach().numpy(), atol=1e-5)


def test_a_table_gives_what_the_int8_engine_gives():
    torch.manual_seed(0)
    table, ids = nn.Embedding(9, 16), torch.tensor([3, 3, 8, 0])
    fake = FakeQuantizedEmbedding(table)
    fake.active = True
    torch.testing.assert_close(fake(ids), QuantizedEmbedding(table)(ids))


def test_gradients_pass_the_rounding_by():
    torch.manual_seed(0)
    layer, rows = Linear(6, 4), torch.randn(5, 6, requires_grad=True)
    fake = FakeQuantizedLinear(layer, 8)
    fake.active = True
    fake(rows).sum().backward()
    torch.testing.assert_close(rows.grad, layer.weight.detach().sum(0).expand(5, 6), rtol=0.02, atol=0.02)
    torch.testing.assert_close(layer.weight.grad, rows.detach().sum(0).expand(4, 6), rtol=0.02, atol=0.05)


def test_a_training_rounds_from_its_start_on_and_is_saved_in_float32(tmp_path):
    module, checkpoints, _ = fit(tmp_path, compression=make_compression("quantized", start=0.5), max_epochs=4)
    assert checkpoints.best_step >= 12
    names = set(module.model.state_dict())
    finished = module.finished_model()
    assert set(finished.state_dict()) == names
    assert {type(m).__name__ for m in finished.modules() if isinstance(m, nn.Linear | nn.Embedding)} == {
        *("Linear", "Embedding")
    }


@pytest.mark.parametrize("model_type", ["bert", "albert"])
def test_every_layer_of_the_int8_engine_takes_part(model_type):

    model, compression = tiny_adaptive(model_type), make_compression("quantized", start=0.0)
    engine = model.quantize(anyway=True)
    compression.attach(model)
    fake = {n for n, m in model.named_modules() if isinstance(m, FakeQuantizedLinear | FakeQuantizedEmbedding)}
    assert fake == {n for n, m in engine.named_modules() if isinstance(m, QuantizedLinear | QuantizedEmbedding)}


def test_it_goes_with_frozen_stages(tmp_path):
    fit(tmp_path, compression=make_compression("quantized"), objective=make_objective("two_stage"))


def test_a_model_in_double_precision_is_rounded_alike():
    model, compression = make_model(), make_compression("quantized", start=0.0)
    compression.attach(model)
    compression.update(model, 0, 1)
    ids = torch.randint(5, 40, (2, 9))
    assert model(ids).logits.dtype is torch.float64


@pytest.mark.parametrize("bits", [7, 8])
def test_the_bits_that_were_trained_can_be_served_from_any_machine(bits, tmp_path):
    model, compression = tiny_adaptive(), make_compression("quantized", start=0.0, activation_bits=bits)
    trained = copy.deepcopy(model)
    compression.attach(trained)
    compression.update(trained, 0, 1)
    ids = torch.randint(5, 20, (4, 9))
    expected = trained.eval()(ids).logits
    model.quantize(activation_bits=bits, anyway=True).save_pretrained(tmp_path)
    served = AdaptiveForSequenceClassification.from_pretrained(tmp_path)
    assert served.config.engine == {"name": "int8", "activation_bits": bits}
    torch.testing.assert_close(served(ids).logits, expected, rtol=0, atol=1e-5)
    other = model.quantize(activation_bits=15 - bits, anyway=True)(ids).logits
    assert (other - expected).abs().max() > 1e-4


@pytest.mark.parametrize(("numbers", "bits"), [("int8", 6), ("int8", True), ("bf16", 8)])
def test_bits_out_of_range_are_refused(numbers, bits):
    with pytest.raises(ValueError, match=r"activation_bits: expected (7 or 8|none with bf16), got"):
        tiny_adaptive().quantize(numbers, activation_bits=bits, anyway=True)
