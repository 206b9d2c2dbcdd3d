"""Weights that are no numbers are found, and named."""

import math

import pytest
import torch

from eat.ops.finite import first_not_finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_first_is_named(value, dtype):
    weights = {name: torch.ones(3, 4, dtype=dtype) for name in "abc"}
    assert first_not_finite(weights) is None
    weights["b"][1, 2] = weights["c"][0, 0] = value
    assert first_not_finite(weights) == "b"


def test_infinities_of_both_signs_do_not_cancel():
    assert first_not_finite({"a": torch.tensor([math.inf, -math.inf])}) == "a"


def test_a_sum_that_overflows_is_no_fault():
    assert first_not_finite({"a": torch.full((9,), 60_000.0, dtype=torch.float16), "ids": torch.arange(3)}) is None
