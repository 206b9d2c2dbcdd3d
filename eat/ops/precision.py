"""Half precision lifted where scores and losses need more digits."""

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Return half-precision values as float32, any others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
