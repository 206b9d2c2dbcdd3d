"""Keep a training's memory level: what C's allocator keeps of freed memory goes back to the system."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

EVERY = 5  # steps; each costs the system some page faults


class FreedMemory(Callback):
    """Give freed memory back to the system every few steps.

    On a CPU every batch has tensors of other sizes, and those that stay (products' code, optimiser state) lie strewn
    between them: glibc's heap then grows from step to step, as far as 2.9 GiB in some hundred steps of MiniLM.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Trim the heap, where the tensors are there and the allocator can."""
        if (batch_idx + 1) % EVERY == 0 and trainer.strategy.root_device.type == "cpu" and (trim := heap_trim()):
            trim(0)


@cache
def heap_trim() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``; None under other C libraries."""
    try:
        trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # Windows has no library of that name
        return None
    return trim
