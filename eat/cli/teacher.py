"""A teacher named by an experiment: the run that this command would have trained with it."""

from collections.abc import Sequence

from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig

from eat.checks import shown
from eat.cli.compose import plain
from eat.runs.folder import choose_run
from eat.runs.naming import override_key

PREFIX = "experiment:"
SHARED = (
    *("task", "budget", "holdout", "seed", "data", "backbone", "head_pooling"),
    *("optimizer", "scheduler", "trainer", "paths"),
)
"""What student and teacher have in common of what is typed; the rest, and the number of layers, is the student's."""


def named_teacher(config: DictConfig) -> str | None:
    """Return ``objective.teacher`` where it names an experiment, ``experiment:<name>``, and no folder."""
    teacher = config.objective.get("teacher")
    return teacher if isinstance(teacher, str) and teacher.startswith(PREFIX) else None


def find_teacher_run(teacher: str, typed: Sequence[str]) -> str:
    """Return the run folder of ``experiment:<name>``, trained with the task, data, budget and seed that were typed.

    Raises:
        ValueError: If there is no such experiment, or its run is not finished; says how to train it.
    """
    name = teacher.removeprefix(PREFIX)
    overrides = [override for override in typed if _is_shared(override_key(override))]
    command = [f"experiment={name}", *overrides]
    try:
        run = choose_run(plain(compose("train", command)))
    except HydraException as error:
        raise ValueError(
            f"objective.teacher: expected an experiment of conf/, got {shown(teacher)} ({error})"
        ) from error
    if not run.is_finished:
        raise ValueError(
            f"objective.teacher: the run of {name} that teaches this one, {run.path}, is not trained yet; train it "
            f"first: python train.py {' '.join(command)}"
        )
    return str(run.path)


def _is_shared(key: str) -> bool:
    return key.partition(".")[0] in SHARED and key != "backbone.num_layers"
