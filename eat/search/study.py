"""The study: an Optuna study in a file, on which several processes can work, and go on after a kill."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from eat.runs.lock import locked
from eat.search.settings import DIRECTIONS, SearchSettings
from eat.search.space import Space
from eat.search.value import Value

FILE, LOCK = "study.db", ".study.lock"
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Trial:
    """A training of a study."""

    number: int
    state: str  # running, complete or failed
    values: Mapping[str, str]  # key -> value as it is typed
    on_front: bool = False  # no other trial is better in everything that is optimised
    value: Value | None = None  # of one that is complete
    run: str | None = None  # its run folder
    error: str | None = None  # of one that failed


class Study:
    """A search's study in its folder; it is begun where there is none.

    ``start`` are values of the first trial, by key; None to begin anywhere.

    Raises:
        RuntimeError: If Optuna is not installed.
        ValueError: If what is in the folder is no study.
    """

    def __init__(self, folder: Path, settings: SearchSettings, space: Space, start: Mapping[str, Any] | None) -> None:
        self.folder, self.settings, self.space = folder, settings, space
        self.optuna = need_optuna()
        folder.mkdir(parents=True, exist_ok=True)
        with self.held(), _readable(folder / FILE):
            self._study = self.optuna.create_study(
                storage=self.optuna.storages.RDBStorage(f"sqlite:///{(folder / FILE).resolve()}"),
                study_name="search",
                directions=[DIRECTIONS[what] for what in settings.optimize],
                load_if_exists=True,
            )
            if start is not None and not self._study.trials:
                self._study.enqueue_trial({key: space[key].start(value) for key, value in start.items()})

    def held(self) -> AbstractContextManager[Any]:
        """Hold the study for this process, for a moment: to choose a trial, or to write the report."""
        return FileLock(self.folder / LOCK)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[Trial | None]:
        """Yield the next trial to train: one whose process has died, else a new one; None where all are taken.

        It is this process's own as long as it lives, in the block.
        """
        with ExitStack() as stack:
            with self.held():
                found = self._claim(stack)
            yield found

    def complete(self, trial: Trial, value: Value, run: Path) -> None:
        """Tell what a trial is worth.

        Raises:
            ValueError: If it was measured on other examples than the trials before it.
        """
        measured = [other.value for other in self.trials() if other.value is not None]
        if measured and measured[0].labels != value.labels:
            raise ValueError(
                f"the threshold split holds other examples ({value.examples}) than that of the trials before "
                f"({measured[0].examples}): the data have changed; remove {self.folder} to begin anew"
            )
        with self.held():
            stored = self._trial(trial.number)
            stored.set_user_attr("run", str(run))
            stored.set_user_attr("value", dataclasses.asdict(value))
            told = {"quality": value.chosen.quality, "flops": value.chosen.flops_ratio}
            self._study.tell(stored, [told[what] for what in self.settings.optimize])

    def fail(self, trial: Trial, error: str) -> None:
        """Tell that a trial could not be trained or measured."""
        with self.held():
            stored = self._trial(trial.number)
            stored.set_user_attr("error", error)
            self._study.tell(stored, state=self.optuna.trial.TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """Return all trials that have begun, in order."""
        states = self.optuna.trial.TrialState
        names = {states.RUNNING: "running", states.COMPLETE: "complete", states.FAIL: "failed"}
        kept = [trial for trial in self._study.trials if trial.state in names]
        front = {t.number for t in self._study.best_trials} if any(t.state == states.COMPLETE for t in kept) else set()
        found = []
        for trial in kept:
            value = Value.from_json(trial.user_attrs["value"]) if trial.state == states.COMPLETE else None
            attributes = {key: trial.user_attrs.get(key) for key in ("run", "error")}
            typed = trial.user_attrs.get("typed", {})
            found.append(
                Trial(trial.number, names[trial.state], typed, trial.number in front, value=value, **attributes)
            )
        return found

    def _claim(self, stack: ExitStack) -> Trial | None:
        for trial in self.trials():
            if trial.state == "running" and self._is_taken(trial.number, stack):
                log.info("trial %d was not finished; continuing it", trial.number)
                return self._suggested(self._trial(trial.number))
        count = len(self.trials())
        if count >= self.settings.trials:
            return None
        self._study.sampler = self._sampler(count)
        trial = self._study.ask()
        self._is_taken(trial.number, stack)
        return self._suggested(trial)

    def _suggested(self, trial: Any) -> Trial:
        """Let Optuna choose every value that the trial has not; a process can have died between two of them."""
        values = {key: parameter.suggest(trial) for key, parameter in self.space.items()}
        trial.set_user_attr("typed", values)
        return Trial(trial.number, "running", values)

    def _trial(self, number: int) -> Any:
        """Return a trial of an earlier process as Optuna's own, which takes attributes and suggests values."""
        self._study.sampler = self._sampler(number)
        return self.optuna.trial.Trial(self._study, self._study.trials[number]._trial_id)  # its only name in a storage

    def _sampler(self, number: int) -> Any:
        """Return a sampler seeded for one trial: a study that goes on asks what it would have asked at once."""
        seed = int(np.random.SeedSequence([self.settings.seed, number]).generate_state(1)[0])
        return self.optuna.samplers.TPESampler(seed=seed)

    def _is_taken(self, number: int, stack: ExitStack) -> bool:
        """Take a trial for this process, until the stack is closed; False where another process has it."""
        try:
            stack.enter_context(locked(self.folder / f"trial-{number}", wait=False))
        except RuntimeError:
            return False
        return True


def need_optuna() -> Any:
    """Import Optuna, which is an optional part of the installation."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise RuntimeError("search: optuna is not installed: pip install 'eat-transformers[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("sqlalchemy", "optuna", "alembic")):
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"search: {path} is no study that can be read ({reason}); remove it to begin anew") from error
