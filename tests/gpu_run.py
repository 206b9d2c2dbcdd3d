"""Do on a GPU what no machine without one can: the CUDA tests, the CUDA benchmark, the ablation at budget=paper.

    python -m tests.gpu_run seconds=540             # a part of the plan; the same command goes on where it stopped
    python -m tests.gpu_run seconds=540 task=mrpc

A call takes at most so many seconds, needs no network, and ends with exit code 0 once all is done, 2 while some is left
and 1 where a step failed; a failed step is tried again, behind the others. What is done is noted in ``runs/gpu/``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from eat.checks import one_of, whole_number
from eat.cli.compose import CONF
from eat.files import read_object, write_text
from eat.suite.settings import PART_NAMES

NOTES = Path("runs/gpu")
SECONDS, LEAST = 540, 60
GRACE = 40.0  # seconds of a call's time in which what is stopped may write a checkpoint and end
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "offline"}
DONE, FAILED, WAITING = "done", "failed", "waiting"
SEEDED = "experiment=ablation/dense,ablation/static_4,ablation/eat,ablation/distilled"


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of the plan."""

    name: str
    command: tuple[str, ...]
    goes_on: bool = False  # whether it continues after a stop; others start anew, with a whole call's time


def plan(task: str) -> list[Step]:
    """List the steps in their order: what is short and tells whether the rest can be trusted comes first."""
    python = (sys.executable, "-m")
    train = (*python, "eat", "train", "-m", f"task={task}", "budget=paper", "trainer=gpu", "optimizer.lr=1e-4")
    train = (*train, "holdout=none", "evaluation.stages=[quality,sweep]")
    return [
        Step("tests", (*python, "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider")),
        *(
            Step(f"benchmark-{part}", (*python, "eat", "benchmark", "device=cuda", f"parts=[{part}]"))
            for part in PART_NAMES
        ),
        Step(f"ablation-{task}", (*train, "experiment=glob(ablation/*)"), goes_on=True),
        Step(f"ablation-{task}-seeds", (*train, SEEDED, "seed=0,1,2"), goes_on=True),
    ]


def run(steps: Sequence[Step], seconds: float, notes: Path, *, environment: Mapping[str, str]) -> int:
    """Do what is left of the plan for so long; return the exit code.

    Commands write to ``<notes>/<step>.log`` and are stopped by SIGTERM, upon which a training leaves a checkpoint.
    """
    end = time.monotonic() + seconds - GRACE
    states = {step.name: _state(notes, step) for step in steps}
    fresh = True  # whether the whole time is left
    for step in sorted(steps, key=lambda step: states[step.name] == FAILED):
        if states[step.name] == DONE or end - time.monotonic() < 1:
            continue
        code = _run(step, end, notes, environment)
        if code is None and not step.goes_on and fresh:
            print(f"{step.name}: longer than the {seconds:g} s of a call; try SECONDS={2 * int(seconds)}")
            code = 124
        states[step.name] = WAITING if code is None else FAILED if code else DONE
        write_text(notes / f"{step.name}.json", json.dumps({"command": list(step.command), "exit_code": code}) + "\n")
        print(f"{step.name}: {states[step.name]}", flush=True)
        fresh = False
    return _said(states)


def _run(step: Step, end: float, notes: Path, environment: Mapping[str, str]) -> int | None:
    """Run a command and return its exit code; None where the time was over before it ended."""
    print(f"{step.name}: {' '.join(step.command)}", flush=True)
    notes.mkdir(parents=True, exist_ok=True)
    with (notes / f"{step.name}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(step.command, stdout=log, stderr=subprocess.STDOUT, env=dict(environment))
        try:
            return process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return None
        except BaseException:
            process.terminate()
            process.wait()
            raise


def _state(notes: Path, step: Step) -> str:
    """Return what an earlier call noted of a step, where it was this command."""
    path = notes / f"{step.name}.json"
    noted = read_object(path) if path.is_file() else {}
    if noted.get("command") != list(step.command) or noted.get("exit_code") is None:
        return WAITING
    return FAILED if noted["exit_code"] else DONE


def _said(states: Mapping[str, str]) -> int:
    left, failed = ([name for name, state in states.items() if state == it] for it in (WAITING, FAILED))
    if left:
        print(f"left: {', '.join(left)}; the same command goes on")
    if failed:
        print(f"failed: {', '.join(failed)}; see {NOTES}/<step>.log, and the same command tries again")
    if not left and not failed:
        print("all done; commit results/benchmark and the runs that belong into results/")
    return 2 if left else int(bool(failed))


def read_options(arguments: Sequence[str]) -> tuple[int, str]:
    """Return the seconds of a call and the task.

    Raises:
        ValueError: If there is no such option, or it has no such value.
    """
    options = {"seconds": str(SECONDS), "task": "sst2"}
    for argument in arguments:
        name, _, value = argument.partition("=")
        options[one_of(name, name, options)] = value
    text = options["seconds"]
    seconds = whole_number("seconds", int(text) if text.isdecimal() else text, at_least=LEAST)
    return seconds, one_of("task", options["task"], (path.stem for path in Path(CONF, "task").glob("*.yaml")))


def main() -> None:
    """Go on with the plan; one line where there is no GPU."""
    try:
        seconds, task = read_options(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
    if not torch.cuda.is_available():
        sys.exit("error: make gpu needs a CUDA device, and torch sees none here; make test needs none")
    sys.exit(run(plan(task), seconds, NOTES, environment=os.environ | OFFLINE))


if __name__ == "__main__":
    main()
