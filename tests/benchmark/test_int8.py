"""The int8 engine keeps what every engine promises, and is left out where int8 gains nothing."""

import re

import pytest
import torch

from eat.benchmark.engines import ENGINES, Source
from eat.ops.int8 import INT8_GAIN
from eat.testing import check_engine
from tests.made.models import make_model

ENGINE = "eat_int8"


@pytest.fixture(autouse=True)
def _forget():
    INT8_GAIN.forget()
    yield
    INT8_GAIN.forget()


def test_contract(monkeypatch):
    monkeypatch.setenv("EAT_KERNELS", "int8_gain=2")
    checked = check_engine(ENGINE, trials=4)
    assert not checked.left_out and any("labels are the model's" in fact for fact in checked.facts)


def test_a_model_in_another_type_stays_in_it():
    model = make_model(torch.bfloat16)
    ENGINES[ENGINE].call(Source(model))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("gain", "device", "reason"),
    [
        ("2", "cpu", None),
        ("1", "cpu", r"int8 is no faster than float32 on this processor \(int8_gain=1\)"),
        ("2", "cuda", "measured on a CPU only, and this is cuda"),
    ],
)
def test_it_says_why_it_is_left_out(monkeypatch, gain, device, reason):
    monkeypatch.setenv("EAT_KERNELS", f"int8_gain={gain}")
    said = ENGINES[ENGINE].why_not(torch.device(device))
    assert said == reason if reason is None else re.fullmatch(reason, said)
