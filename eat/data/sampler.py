"""Batch sampling: a seeded order of training, like lengths together, a pure function of (seed, epoch).

Several processes share each batch out: the order, and what a step is about, are those of one process.
"""

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
    """Batch sampler over `epoch_batches`, one epoch after another; can resume in the middle of one.

    Of several processes, numbered by ``rank``, each yields its part of every batch, every ``world_size``-th example:
    lengths that are alike stay alike. A last batch of fewer examples than processes leaves some without a part; they
    yield an example of weight 0, for all must take the same steps.
    """

    def __init__(
        self,
        lengths: Int[np.ndarray, " examples"],
        batch_size: int,
        *,
        seed: int = 0,
        group_by_length: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = lengths
        self.batch_size = whole_number("batch_size", batch_size)
        self.seed = seed
        self.group_by_length = group_by_length
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._sizes: list[int] = []
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

    def weight(self, batch: int) -> float:
        """Return what the mean over this process's part of a batch of the epoch weighs in the mean over processes.

        The mean over processes of weighted means is then the mean over the batch's examples, however many each has.
        """
        size = self._sizes[batch]
        return self.world_size * len(range(self.rank, size, self.world_size)) / size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches of example numbers."""
        batches = epoch_batches(
            self.lengths, self.batch_size, seed=self.seed, epoch=self.epoch, group_by_length=self.group_by_length
        )
        start, self._skip = self._skip, 0
        self._sizes = [len(batch) for batch in batches]
        for batch in batches[start:]:
            yield batch[self.rank :: self.world_size] or batch[:1]


def batches_in_order(num_examples: int, batch_size: int, rank: int = 0, world_size: int = 1) -> Sequence[list[int]]:
    """Return batches in the order of the split, for evaluation; of several processes, those of one.

    Each example is in one batch of one process; batches are cut smaller where there were fewer than processes.
    """
    whole_number("batch_size", batch_size)
    size = min(batch_size, max(1, num_examples // world_size))
    starts = range(0, num_examples, size)[rank::world_size]
    return [list(range(start, min(start + size, num_examples))) for start in starts]
