"""The Lightning trainer: the device that is there, in the precision that it is good at."""

import inspect
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from eat.checks import closest, number, shown, whole_number
from eat.training.checkpoints import AtomicCheckpointIO


def build_trainer(*, accelerator: str, precision: str, threads: int | None, **options: Any) -> Trainer:
    """Build a trainer whose checkpoints are whole or not there.

    Args:
        accelerator: ``auto`` takes the GPU where one is, else the CPU; or what Lightning knows.
        precision: ``auto`` is mixed bfloat16 on GPUs that have it, mixed float16 on others, float32 on the CPU.
        threads: CPU threads inside torch's operators; None for torch's own choice.
        options: Everything else that ``lightning.Trainer`` takes.

    Raises:
        ValueError: Naming the option that is unknown, of another type or out of range, or asks for several devices.
    """
    _check(accelerator=accelerator, precision=precision, **options)
    if threads is not None:
        torch.set_num_threads(whole_number("trainer.threads", threads))
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto" and accelerator in ("cuda", "gpu"):
        precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    elif precision == "auto":
        precision = "32-true"
    plugins = [AtomicCheckpointIO()]
    if options.get("max_steps", -1) is None:  # no limit, which Lightning writes so
        options["max_steps"] = -1
    try:
        trainer = Trainer(accelerator=accelerator, precision=precision, plugins=plugins, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError, MisconfigurationException) as error:
        _, _, argument = str(error).partition("unexpected keyword argument ")
        known = inspect.signature(Trainer).parameters
        said = f".{argument[1:-1]}: no such argument{closest(argument[1:-1], known)}" if argument else f": {error}"
        raise ValueError(f"trainer{said}") from error
    if trainer.num_devices * trainer.num_nodes > 1:
        raise ValueError(
            f"trainer.devices: expected 1, got {trainer.num_devices} on {trainer.num_nodes} node(s); training on "
            "several devices is not possible yet: choose one, for instance with CUDA_VISIBLE_DEVICES=0"
        )
    return trainer


def check_length(epochs_key: str, steps_key: str, epochs: Any, steps: Any) -> None:
    """Check the limits of a training, by the keys that they were typed under: a training without a step is none.

    Raises:
        ValueError: If one is out of range, or there is none.
    """
    for key, value in ((epochs_key, epochs), (steps_key, steps)):
        if value is not None and not (value == -1 and isinstance(value, int)):
            try:
                whole_number(key, value)
            except ValueError as error:
                raise ValueError(f"{error} (-1 is no limit)") from None
    if epochs == -1 and steps in (None, -1):
        raise ValueError(f"{epochs_key}: expected a limit here or as {steps_key}, got -1 for both")


def _check(
    *,
    accelerator: Any,
    precision: Any,
    max_epochs: Any = None,
    max_steps: Any = -1,
    gradient_clip_val: Any = None,
    accumulate_grad_batches: Any = 1,
    val_check_interval: Any = None,
    check_val_every_n_epoch: Any = 1,
    num_sanity_val_steps: Any = None,
    log_every_n_steps: Any = None,
    **others: Any,
) -> None:
    """Check what Lightning would take and stumble over later; what it refuses itself, it says itself."""
    check_length("trainer.max_epochs", "trainer.max_steps", max_epochs, max_steps)
    for name, text in (("accelerator", accelerator), ("precision", precision)):
        if not isinstance(text, str):
            raise ValueError(f"trainer.{name}: expected a name, such as auto, got {shown(text)}")
    if gradient_clip_val is not None:
        number("trainer.gradient_clip_val", gradient_clip_val, at_least=0)
    whole_number("trainer.accumulate_grad_batches", accumulate_grad_batches)
    if isinstance(val_check_interval, float):
        number("trainer.val_check_interval", val_check_interval, above=0, at_most=1)
    elif val_check_interval is not None:
        whole_number("trainer.val_check_interval", val_check_interval)
    for name, value, least in (
        ("check_val_every_n_epoch", check_val_every_n_epoch, 1),
        ("num_sanity_val_steps", num_sanity_val_steps, -1),
        ("log_every_n_steps", log_every_n_steps, 0),
    ):
        if value is not None:
            whole_number(f"trainer.{name}", value, at_least=least)
