"""Cases that hold every pair of values, for tests whose families of values do not act all together."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest


def pairs_first(*families: Iterable[Any]) -> list[Any]:
    """Return all combinations, for `pytest.mark.parametrize`; those marked slow hold no pair that the others lack.

    The first family varies slowest, as in a product, and each of the others' combinations that is kept adds the most
    pairs that are missing yet.
    """
    numbered = [list(enumerate(family)) for family in families]
    combinations = list(itertools.product(*numbered))
    missing = {pair for one in combinations for pair in _pairs(one)}
    kept = set()
    while missing:
        best = max(combinations, key=lambda one: len(missing & _pairs(one)))
        kept.add(_numbers(best))
        missing -= _pairs(best)
    return [
        pytest.param(*(value for _, value in one), marks=() if _numbers(one) in kept else pytest.mark.slow)
        for one in combinations
    ]


def _numbers(combination: tuple[tuple[int, Any], ...]) -> tuple[int, ...]:
    return tuple(number for number, _ in combination)


def _pairs(combination: tuple[tuple[int, Any], ...]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    return set(itertools.combinations(enumerate(_numbers(combination)), 2))
