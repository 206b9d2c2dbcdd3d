"""What one training step is about: which heads answer, how much each counts, and what is frozen."""

import dataclasses
from collections.abc import Mapping

from torch import Tensor

Batch = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Phase:
    """What one step trains.

    Attributes:
        head_depths: Heads that the loss reads, in ascending order; no other head runs, nor a block behind the last one.
        weights: Of each of these heads' loss against the labels.
        frozen: True where embeddings, blocks and the final head stand still, without dropout: only early heads learn.
    """

    head_depths: tuple[int, ...]
    weights: tuple[float, ...]
    frozen: bool = False
