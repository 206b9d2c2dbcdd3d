"""Check what a saved state holds, before anything of it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from eat.checks import shown


def check_keys(where: str, state: object, keys: Iterable[str]) -> None:
    """Check that a part of a state is a mapping with these keys and no others."""
    got = sorted(state) if isinstance(state, Mapping) else state
    if got != sorted(keys):
        raise ValueError(f"{where}: expected a mapping with the keys {sorted(keys)}, got {shown(got)}")


def read_counts(where: str, values: Any, shape: tuple[int | None, ...], dtype: type = np.int64) -> np.ndarray:
    """Read nested lists of finite numbers of 0 or more; None in ``shape`` stands for any length."""
    array: np.ndarray = np.array(values, dtype=dtype)
    alike = array.ndim == len(shape) and all(n is None or n == got for n, got in zip(shape, array.shape, strict=True))
    if not alike or not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"{where}: expected finite numbers of 0 or more in the shape {shape}, got shape {array.shape}")
    return array


def check_same(state: Mapping[str, Any], identity: Mapping[str, Any], what: str) -> None:
    """Check that a state is that of a ``what`` ("guard") with this identity: model, bounds, rates."""
    for key, value in identity.items():
        if state.get(key) != value:
            raise ValueError(f"state[{shown(key)}]: expected this {what}'s {shown(value)}, got {shown(state.get(key))}")
