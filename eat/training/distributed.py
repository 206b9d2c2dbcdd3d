"""Several processes that train together: who started them, what they do in turns, and how they stop together.

Lightning's DDP averages gradients. Every process takes the same steps; the first alone writes, and the others wait
where it prepares what they read.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor


def cluster() -> ClusterEnvironment | None:
    """Return what started this process as one of several (torchrun, srun, or `eat train` itself); None for a lone one.

    Raises:
        RuntimeError: If srun was not told how many processes a node has.
    """
    for kind in (TorchElasticEnvironment, SLURMEnvironment):  # torchrun may have been started by srun
        if kind.detect():
            environment: ClusterEnvironment = kind()
            return environment if environment.world_size() > 1 else None
    return None


def process_number() -> int:
    """Return the number of this process among those that train together; 0 for a lone one."""
    environment = cluster()
    return 0 if environment is None else environment.global_rank()


@contextmanager
def first_process_first(trainer: Trainer) -> Iterator[None]:
    """Run a block in the first process, then in the others, which end without a word where it failed there."""
    if trainer.world_size == 1:
        yield
        return
    trainer.strategy.setup_environment()  # connects the processes, as `fit` would
    if not trainer.is_global_zero and not trainer.strategy.broadcast(False):
        raise SystemExit(1)
    done = False
    try:
        yield
        done = True
    finally:
        if trainer.is_global_zero:
            trainer.strategy.broadcast(done)


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of what all processes give; each must call this."""
    dist.all_reduce(values)  # Lightning's `reduce` would wait for all first, at each step
    return values / dist.get_world_size()


def in_any_process(fact: bool, trainer: Trainer) -> bool:
    """Return True where it is so in one process at least; each must call this."""
    return bool(mean_over_processes(torch.tensor(float(fact), device=trainer.strategy.root_device)) > 0)


def from_all_processes(items: list[int]) -> list[int]:
    """Return the items of all processes, in their order; each must call this."""
    if not dist.is_initialized():
        return items
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, items)
    return [item for one in gathered for item in one]


def leave_processes(trainer: Trainer) -> None:
    """Disconnect from the others once all are here: what follows a training concerns one process."""
    trainer.strategy.barrier()
    if dist.is_initialized():
        dist.destroy_process_group()


def is_stopping(trainer: Trainer) -> bool:
    """Return whether a training ends after this step, since it was asked to; the same in all processes."""
    together = [callback for callback in trainer.callbacks if isinstance(callback, StopTogether)]  # type: ignore[attr-defined]
    return together[0].stopping if together else trainer.received_sigterm


class StopTogether(Callback):
    """Stops all processes after the same step when one of them is asked to end (SIGTERM); what is due is written first.

    In place of Lightning's own handler of the signal, which exchanges a message there and then: whatever the others are
    exchanging at that moment, they receive the wrong one.
    """

    def __init__(self) -> None:
        self._asked = False
        self.stopping = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signal over; after a training Lightning gives back what it found."""
        signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Agree whether to stop; Lightning calls what writes checkpoints after this."""
        self.stopping = in_any_process(self._asked, trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop if any process was asked to."""
        if self.stopping:
            raise SIGTERMException

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
