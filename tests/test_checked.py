"""What the suite itself checks in every test: annotated types and shapes, in functions, methods and dataclasses."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from eat.ops.confidence import agreeing_heads
from tests.checked import checked


@checked
def summed(one: Float[Tensor, " batch"], other: Float[Tensor, " batch"], copies: int = 1) -> Float[Tensor, " batch"]:
    return (one + other).repeat(copies)


@checked
def parts(rows: Float[Tensor, "batch dim"]) -> Iterator[Tensor]:
    yield from rows


@checked
@dataclass
class Pair:
    one: Float[Tensor, " batch"]
    other: Float[Tensor, " batch"]

    @checked
    def named(self, name: str) -> str:
        return name


def test_arguments_and_result_share_their_axes() -> None:
    three, two = torch.zeros(3), torch.zeros(2)
    assert summed(two, two).shape == (2,) and summed(three, three).shape == (3,)
    with pytest.raises(BeartypeCallHintViolation, match="other"):
        summed(three, two)
    with pytest.raises(BeartypeCallHintViolation, match="return"):
        summed(three, three, copies=2)
    with pytest.raises(BeartypeCallHintViolation, match="copies"):
        summed(three, three, copies="2")


def test_fields_and_methods() -> None:
    with pytest.raises(BeartypeCallHintViolation, match="other"):
        Pair(torch.zeros(3), torch.zeros(2))
    with pytest.raises(BeartypeCallHintViolation, match="name"):
        Pair(torch.zeros(3), torch.zeros(3)).named(3)


def test_generators() -> None:
    assert len(list(parts(torch.zeros(3, 2)))) == 3
    with pytest.raises((BeartypeCallHintViolation, TypeCheckError)):
        list(parts(torch.zeros(3)))


def test_the_package_is_checked() -> None:
    with pytest.raises(BeartypeCallHintViolation, match="history"):
        agreeing_heads(torch.zeros(2, 3))
