"""Train in several processes of this machine, one for each device, as torchrun would start them."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig, OmegaConf
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, start_processes

from eat.cli.compose import keep_quiet, plain
from eat.cli.messages import explain, is_users
from eat.runs.folder import RunFolder

Train = Callable[[DictConfig, RunFolder], None]
GRACE_S = 30.0
"""What the others have to end by themselves once one has, as long as a scheduler gives after SIGTERM."""


def train_in_processes(train: Train, config: DictConfig, run: RunFolder, count: int) -> None:
    """Call ``train`` in ``count`` processes and wait for all; this process holds the folder meanwhile.

    SIGTERM is passed on to them.

    Raises:
        RuntimeError: If one failed, with its message; the traceback of a fault is printed.
        SystemExit: If they were stopped by a signal.
    """
    failures = get_context("spawn").SimpleQueue()
    common = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
        "TORCHELASTIC_RUN_ID": "eat",  # by which Lightning knows torchrun's variables
    }
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read at import: DDP's advice to expect no unused weights
    arguments = (common, train, plain(config), run.path, failures)
    processes = start_processes(_train_as_one, arguments, nprocs=count, join=False, start_method="spawn")
    with _signals_passed_on(processes):
        try:
            while not processes.join(grace_period=GRACE_S):
                pass
        except ProcessExitedException as ended:
            raise _explained(ended, count, None if failures.empty() else failures.get()) from None


def _train_as_one(
    number: int, common: dict[str, str], train: Train, config: dict[str, Any], folder: Path, failures: Any
) -> None:
    """Train in the process of this number; what goes wrong is told to the process that started it."""
    os.environ |= common | {"RANK": str(number), "LOCAL_RANK": str(number)}
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    keep_quiet()
    try:
        train(OmegaConf.create(config), RunFolder(folder))
    except Exception as error:
        line = explain(error, "train", ()) if is_users(error) else f"{type(error).__name__}: {error}"
        failures.put((line, "" if is_users(error) else traceback.format_exc()))
        sys.stdout.flush()
        os._exit(1)  # where others are gone, connections to them can keep a process from ending


def _explained(ended: ProcessExitedException, count: int, failure: tuple[str, str] | None) -> BaseException:
    """Return what to raise: how the first process ended; what others tell after a kill is that they lost it."""
    if failure is not None and not ended.signal_name:
        line, trace = failure
        print(trace, end="", file=sys.stderr, flush=True)
        return RuntimeError(line)
    if ended.exit_code in (128 + signal.SIGTERM, -signal.SIGTERM):
        return SystemExit(128 + signal.SIGTERM)
    how = f"was killed by {ended.signal_name}" if ended.signal_name else f"ended with code {ended.exit_code}"
    return RuntimeError(
        f"process {ended.error_index + 1} of {count} {how}, perhaps for want of memory; the same command continues"
    )


@contextmanager
def _signals_passed_on(processes: ProcessContext) -> Iterator[None]:
    """Pass SIGTERM on, and leave no process behind."""

    def pass_on(*_: Any) -> None:
        for process in processes.processes:
            process.terminate()

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        pass_on()
        for process in processes.processes:
            process.join(GRACE_S)
            process.kill()
