"""The Lightning trainer: the device that is there, in the precision that it is good at."""

from typing import Any

import torch
from lightning import Trainer

from eat.checks import whole_number
from eat.training.checkpoints import AtomicCheckpointIO


def build_trainer(*, accelerator: str, precision: str, threads: int | None, **options: Any) -> Trainer:
    """Build a trainer whose checkpoints are whole or not there.

    Args:
        accelerator: ``auto`` takes the GPU where one is, else the CPU; or what Lightning knows.
        precision: ``auto`` is mixed bfloat16 on GPUs that have it, mixed float16 on others, float32 on the CPU.
        threads: CPU threads inside torch's operators; None for torch's own choice.
        options: Everything else that ``lightning.Trainer`` takes.
    """
    if threads is not None:
        torch.set_num_threads(whole_number("trainer.threads", threads))
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto" and accelerator in ("cuda", "gpu"):
        precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    elif precision == "auto":
        precision = "32-true"
    return Trainer(accelerator=accelerator, precision=precision, plugins=[AtomicCheckpointIO()], **options)  # type: ignore[arg-type]
