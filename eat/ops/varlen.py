"""Variable-length flash attention on packed rows: no gather, no padding, no mask."""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn


def sequence_offsets(lengths: Int[Tensor, " batch"]) -> Int[Tensor, " boundaries"]:
    """Return where each sequence starts and the last one ends, in the 32 bits that the kernel reads."""
    return F.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))


def varlen_attention(
    qkv: Float[Tensor, "tokens 3 heads head_dim"], offsets: Int[Tensor, " boundaries"], longest: int
) -> Float[Tensor, "tokens dim"]:
    """Return softmax(Q K^T / sqrt(head_dim)) V within each sequence; CUDA, half precision, without dropout."""
    q, k, v = qkv.unbind(1)
    return cast(Tensor, varlen_attn(q, k, v, offsets, offsets, longest, longest)).flatten(1)
