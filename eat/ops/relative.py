"""Relative positions in buckets: one for each short distance, few for long ones."""

import math

import torch
from jaxtyping import Int
from torch import Tensor


def relative_bucket(
    distance: Int[Tensor, "*shape"], num_buckets: int = 32, max_distance: int = 128
) -> Int[Tensor, "*shape"]:
    """Return the bucket of each distance, key's position minus query's (T5, Raffel et al. 2020, and MPNet).

    Half of the buckets are for keys before the query, half for those behind it. Half of either are for one distance
    each, the others for ranges that grow with the logarithm up to ``max_distance``; all beyond share the last.
    """
    one_way = num_buckets // 2
    exact = one_way // 2
    near = distance.abs()
    growth = torch.log(near.clamp_min(1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (growth * (one_way - exact)).long()).clamp_max(one_way - 1)
    return torch.where(near < exact, near, far) + one_way * (distance > 0)
