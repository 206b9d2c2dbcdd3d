"""The Lightning trainer: the devices that are there, in the precision that they are good at."""

import inspect
import os
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy

from eat.checks import closest, number, one_of, shown, thread_count, whole_number
from eat.training.checkpoints import AtomicCheckpointIO
from eat.training.distributed import StopTogether, cluster
from eat.training.memory import FreedMemory

_NODES = "eat starts the processes of one machine; for several, start the command on each with torchrun or srun"


def build_trainer(
    *,
    accelerator: str,
    precision: str,
    threads: int | None,
    devices: Any = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    **options: Any,
) -> Trainer:
    """Build a trainer whose checkpoints are whole or not there; on several devices it is one of as many processes.

    Args:
        accelerator: ``auto`` takes the GPU where one is, else the CPU; or what Lightning knows.
        precision: ``auto`` is mixed bfloat16 on GPUs that have it, mixed float16 on others, float32 on the CPU.
        threads: CPU threads inside torch's operators; None for torch's own choice, which processes share.
        devices: How many, a list of which, or ``auto`` for all: as many as processes where something has started them.
        num_nodes: Machines, each with as many devices.
        strategy: ``ddp`` says that several devices are expected; ``auto`` takes one or several.
        options: Everything else that ``lightning.Trainer`` takes.

    Raises:
        ValueError: Naming the option that is unknown, of another type or out of range, or fits no device or process.
    """
    _check(accelerator=accelerator, precision=precision, num_nodes=num_nodes, strategy=strategy, **options)
    if threads is not None:
        torch.set_num_threads(thread_count("trainer.threads", threads))
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto" and accelerator in ("cuda", "gpu"):
        precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    elif precision == "auto":
        precision = "32-true"
    if options.get("max_steps", -1) is None:  # no limit, which Lightning writes so
        options["max_steps"] = -1
    options |= {"accelerator": accelerator, "precision": precision, "use_distributed_sampler": False}
    options |= _places(devices, num_nodes)
    options["callbacks"] = [*(options.get("callbacks") or ()), FreedMemory()]
    trainer = _build(**options)
    processes = trainer.num_devices * trainer.num_nodes
    _check_processes(processes, trainer, strategy, devices)
    if processes == 1:
        return trainer
    if threads is None and cluster() is not None and trainer.strategy.root_device.type == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // trainer.num_devices))
    options["callbacks"] = [*options["callbacks"], StopTogether()]
    # Some objectives leave heads, or all but the heads, out of some steps.
    return _build(**options, strategy=DDPStrategy(find_unused_parameters=True))


def _places(devices: Any, num_nodes: int) -> dict[str, Any]:
    """Return devices and nodes; ``auto`` are those for which something has started processes."""
    started = cluster()
    if devices != "auto" or started is None:
        return {"devices": devices, "num_nodes": num_nodes}
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ["SLURM_NTASKS_PER_NODE"])
    return {"devices": local, "num_nodes": started.world_size() // local}


def _build(**options: Any) -> Trainer:
    try:
        trainer = Trainer(plugins=[AtomicCheckpointIO()], **options)
    except (TypeError, ValueError, MisconfigurationException) as error:
        _, _, argument = str(error).partition("unexpected keyword argument ")
        known = inspect.signature(Trainer).parameters
        said = f".{argument[1:-1]}: no such argument{closest(argument[1:-1], known)}" if argument else f": {error}"
        raise ValueError(f"trainer{said}") from error
    # With a limit of steps Lightning takes every training for one that begins within an epoch, and a resumed one then
    # ends its epochs a step late. It stops at that limit all the same.
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
    return trainer


def _check_processes(processes: int, trainer: Trainer, strategy: str, devices: Any) -> None:
    """Check that there is a process for each device, or that this one can start them."""
    started = cluster()
    if started is not None and started.world_size() != processes:
        raise ValueError(
            f"trainer.devices: expected a device for each of the {started.world_size()} processes that were started, "
            f"got {trainer.num_devices} on {trainer.num_nodes} node(s); trainer.devices=auto takes as many"
        )
    if started is None and trainer.num_nodes > 1:
        raise ValueError(f"trainer.num_nodes: expected 1, got {trainer.num_nodes}: {_NODES}")
    if strategy == "ddp" and processes == 1 and devices == "auto":
        raise ValueError(
            f"trainer.devices: expected several for trainer=ddp, found 1 ({trainer.strategy.root_device}); say how "
            "many processes are to share it, such as trainer.devices=2 on a CPU, or leave trainer=ddp out"
        )


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
    num_nodes: Any,
    strategy: Any,
    use_distributed_sampler: Any = False,
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
    whole_number("trainer.num_nodes", num_nodes)
    one_of("trainer.strategy", strategy, ("auto", "ddp"))
    if use_distributed_sampler is not False:
        raise ValueError(
            f"trainer.use_distributed_sampler: expected false, got {shown(use_distributed_sampler)}: "
            "eat shares batches out itself"
        )
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
