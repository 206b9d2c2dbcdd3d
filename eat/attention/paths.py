"""Choose the attention kernel: grouped dense products, variable-length flash attention or FlexAttention."""

import enum
import functools
import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

import torch

# One sequence shorter than this is one dense product under a small mask; a guess, not measured on a GPU.
FLEX_FROM = 512

_HALF = (torch.float16, torch.bfloat16)
_FLEX_HEAD_DIMS = (16, 32, 64, 128)
_AMPERE = (8, 0)


class Path(enum.Enum):
    """How a batch attends."""

    GROUPED = "grouped"
    VARLEN = "varlen"
    FLEX = "flex"


class Support(NamedTuple):
    """What a device can run."""

    varlen: bool
    flex: bool


@functools.cache
def device_support(device: torch.device) -> Support:
    """Return what this device can run: flash and Triton kernels need an NVIDIA GPU, Ampere or later."""
    if device.type != "cuda" or torch.version.cuda is None or torch.cuda.get_device_capability(device) < _AMPERE:
        return Support(varlen=False, flex=False)
    return Support(
        varlen=torch.backends.cuda.is_flash_attention_available(), flex=importlib.util.find_spec("triton") is not None
    )


def choose_path(support: Support, *, dtype: torch.dtype, head_dim: int, lengths: Sequence[int], windowed: bool) -> Path:
    """Choose how a batch attends where nothing but the fused product is asked for. The first row that fits decides.

    | case                                                                | path    |
    | ------------------------------------------------------------------- | ------- |
    | windowed, FlexAttention at hand, but one sequence below FLEX_FROM   | GROUPED |
    | windowed, FlexAttention at hand, 16 or 32 bits, a head_dim it takes | FLEX    |
    | no window, lengths differ, flash at hand, 16 bits, head_dim fits    | VARLEN  |
    | all else: the CPU, float64, float32 without a window, equal lengths | GROUPED |

    GROUPED gathers sequences of like length and pads inside each group: `scaled_dot_product_attention` under a mask
    where one is needed, and nothing but that call where all lengths are equal. VARLEN and FLEX are one call on the
    packed rows. All three can be differentiated. ``windowed`` says that some sequence is longer than what its window
    shows; ``dtype`` is that of queries, keys and values, which autocast may have lowered.
    """
    if windowed:
        fits = support.flex and dtype in (*_HALF, torch.float32) and head_dim in _FLEX_HEAD_DIMS
        return Path.FLEX if fits and (len(lengths) > 1 or lengths[0] >= FLEX_FROM) else Path.GROUPED
    fits = support.varlen and dtype in _HALF and head_dim % 8 == 0 and head_dim <= 256
    return Path.VARLEN if fits and len(set(lengths)) > 1 else Path.GROUPED
