"""Batch sampling: a seeded order of training, like lengths together, a pure function of (seed, epoch)."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler

from eat.checks import whole_number

# Batches sorted by length together: enough that a batch's lengths are alike, few enough that batches stay random.
POOL_BATCHES = 50


def epoch_batches(
    lengths: Int[np.ndarray, " examples"], batch_size: int, *, seed: int, epoch: int, group_by_length: bool
) -> list[list[int]]:
    """Return the batches of an epoch, counted from 0: each example once, the last batch maybe smaller.

    ``group_by_length`` sorts pools of shuffled examples by length, cuts them into batches and shuffles these. Packed
    batches hold no padding either way; like lengths spare it inside attention.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    if group_by_length:
        pool = POOL_BATCHES * batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in pools]) if pools else order
    batches = [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]
    if group_by_length:
        batches = [batches[i] for i in generator.permutation(len(batches))]
    return batches


class EpochBatchSampler(Sampler[list[int]]):
    """Batch sampler over `epoch_batches`, one epoch after another; can resume in the middle of one."""

    def __init__(
        self, lengths: Int[np.ndarray, " examples"], batch_size: int, *, seed: int = 0, group_by_length: bool = True
    ) -> None:
        self.lengths = lengths
        self.batch_size = whole_number("batch_size", batch_size)
        self.seed = seed
        self.group_by_length = group_by_length
        self.epoch = 0
        self._skip = 0

    @property
    def sampler(self) -> "EpochBatchSampler":
        """Itself: Lightning looks for ``set_epoch`` in a batch sampler's ``sampler`` and calls it before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def start_at(self, epoch: int, batches: int) -> None:
        """Let the next iteration yield an epoch without its first so many batches: they were trained on before."""
        self.epoch, self._skip = epoch, batches

    def __len__(self) -> int:
        """Return the batches of a whole epoch."""
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches of example numbers."""
        batches = epoch_batches(
            self.lengths, self.batch_size, seed=self.seed, epoch=self.epoch, group_by_length=self.group_by_length
        )
        start, self._skip = self._skip, 0
        yield from batches[start:]


def batches_in_order(num_examples: int, batch_size: int) -> Sequence[list[int]]:
    """Return batches in the order of the split, for evaluation."""
    whole_number("batch_size", batch_size)
    return [list(range(start, min(start + batch_size, num_examples))) for start in range(0, num_examples, batch_size)]
