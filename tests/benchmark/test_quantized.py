"""Engines of int8 and bfloat16 weights keep what every engine promises, and are left out where they gain nothing."""

import re

import pytest
import torch

from eat.benchmark.engines import ENGINES, Source
from eat.ops.bf16 import BF16_GAIN
from eat.ops.int8 import INT8_GAIN
from eat.testing import check_engine
from tests.made.models import make_model

engines = pytest.mark.parametrize("numbers", ["int8", "bf16"])


@pytest.fixture(autouse=True)
def _forget():
    for measured in (INT8_GAIN, BF16_GAIN):
        measured.forget()
    yield
    for measured in (INT8_GAIN, BF16_GAIN):
        measured.forget()


@engines
def test_contract(monkeypatch, numbers):
    monkeypatch.setenv("EAT_KERNELS", f"default,{numbers}_gain=2")
    checked = check_engine(f"eat_{numbers}", trials=4)
    assert not checked.left_out and any("labels are the model's" in fact for fact in checked.facts)


@engines
def test_a_model_in_another_type_stays_in_it(numbers):
    model = make_model(torch.bfloat16)
    ENGINES[f"eat_{numbers}"].call(Source(model))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@engines
@pytest.mark.parametrize(
    ("gain", "device", "reason"),
    [
        ("2", "cpu", None),
        ("1", "cpu", r"{0} is no faster than float32 on this processor \({0}_gain=1\)"),
        ("2", "cuda", "measured on a CPU only, and this is cuda"),
    ],
)
def test_it_says_why_it_is_left_out(monkeypatch, numbers, gain, device, reason):
    monkeypatch.setenv("EAT_KERNELS", f"default,{numbers}_gain={gain}")
    said = ENGINES[f"eat_{numbers}"].why_not(torch.device(device))
    assert said == reason if reason is None else re.fullmatch(reason.format(numbers), said)
