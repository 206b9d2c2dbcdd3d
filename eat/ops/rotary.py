"""Rotary positions: queries and keys turned by angles that grow with their positions."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotary_angles(
    positions: Int[Tensor, " tokens"], theta: float, head_dim: int, dtype: torch.dtype
) -> tuple[Float[Tensor, "tokens 1 1 head_dim"], Float[Tensor, "tokens 1 1 head_dim"]]:
    """Return cosine and sine of position / theta^(2 i / head_dim), for i up to head_dim / 2, twice.

    The angles themselves are of float32, as in Hugging Face's models, whatever the ``dtype``.
    """
    steps = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions.float().unsqueeze(1) * (1.0 / (theta ** (steps / head_dim)))
    angles = torch.cat((angles, angles), dim=1)[:, None, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotated(
    qkv: Float[Tensor, "tokens 3 heads head_dim"],
    cos: Float[Tensor, "tokens 1 1 head_dim"],
    sin: Float[Tensor, "tokens 1 1 head_dim"],
) -> Float[Tensor, "tokens 3 heads head_dim"]:
    """Return queries and keys turned, values as they are (RoFormer, Su et al. 2021, arXiv:2104.09864, equation 34).

    Number i of a head is paired with number i + head_dim / 2. They are rounded to float32 whatever their type, as in
    Hugging Face's models.
    """
    queries_and_keys = qkv[:, :2].float()
    first, second = queries_and_keys.chunk(2, dim=-1)
    turned = queries_and_keys * cos + torch.cat((-second, first), dim=-1) * sin
    return torch.cat((turned.to(qkv.dtype), qkv[:, 2:]), dim=1)
