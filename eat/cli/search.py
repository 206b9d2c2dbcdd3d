"""Search for a training's settings with Optuna: quality against executed FLOPs, or quality alone."""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from time import monotonic
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from eat.checks import folder_name, one_line
from eat.cli.command import command, say
from eat.cli.compose import keep_quiet, plain
from eat.cli.experiment import experiment_text
from eat.cli.messages import is_users
from eat.cli.options import check_keys, check_training
from eat.cli.teacher import find_teacher_run, named_teacher
from eat.cli.train import compose_retrofit, trained
from eat.exits.points import OperatingPoint
from eat.runs.finished import FinishedRun
from eat.runs.naming import fingerprint, leaves, override_key
from eat.search.report import About, console, write_search
from eat.search.settings import SearchSettings
from eat.search.space import Space, read_space, typed
from eat.search.study import Study, Trial, need_optuna
from eat.search.value import Value, measure, trace_held_out
from eat.tasks import build_task
from eat.training.distributed import cluster

log = getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Search:
    """A search as it was typed."""

    settings: SearchSettings
    space: Space
    fixed: Sequence[str]  # overrides of every trial
    base: Mapping[str, Any]  # the training that they compose, before anything varies
    choices: Mapping[str, Any]  # group -> the option that it is composed from

    def config(self, values: Mapping[str, str]) -> DictConfig:
        """Compose the training of a trial."""
        overrides = [*self.fixed, *(f"{key}={value}" for key, value in values.items())]
        return compose("train", overrides) if self.base["retrofit"] is None else compose_retrofit(overrides)

    @property
    def folder(self) -> Path:
        """Where the study lies: another space, or other fixed settings, are another study."""
        parts = [fingerprint(self.base), self.base["exit"], self.settings.study]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
        runs = folder_name("paths.runs", self.base["paths"]["runs"])
        return Path(runs) / "search" / f"{self.settings.name}-{digest}"

    @property
    def start(self) -> dict[str, Any] | None:
        """Values of the training as it stands; None where the space does not hold them."""
        known = dict(leaves(self.base)) | dict(self.choices)
        values = {key: known[key] for key in self.space}
        return values if all(self.space[key].holds(value) for key, value in values.items()) else None


@command("search")
def main(config: DictConfig) -> Path:
    """Train trials until there are enough of them or time is up, and write the report; return the study's folder."""
    keep_quiet()
    need_optuna()
    if cluster() is not None:
        raise RuntimeError(
            "search: expected one process, got several that train together (torchrun, srun); type the command once, "
            "with trainer.devices= for several devices a trial"
        )
    search = read_search(config)
    study = Study(search.folder, search.settings, search.space, search.start)
    about = _about(search)
    log.info("search in %s", study.folder)
    started, timeout = monotonic(), search.settings.timeout
    try:
        while timeout is None or monotonic() - started < timeout:
            with study.claimed() as trial:
                if trial is None:
                    break
                _run(search, study, trial)
            write_search(study, about)
    finally:
        write_search(study, about)
    log.info("\n%s\n\nreport: %s", console(study, about), study.folder / "search.md")
    trials = study.trials()
    if trials and all(trial.state == "failed" for trial in trials):
        raise RuntimeError(f"search: all {len(trials)} trials failed, the first one with: {trials[0].error}")
    return study.folder


def read_search(config: DictConfig) -> Search:
    """Read what was typed, and check it: every value at the ends of the space must be a training's.

    Raises:
        FileNotFoundError: If a run that an option names is not there.
        ValueError: Naming the key that is unknown, of another type, out of range or of no use in a search.
    """
    whole = plain(config)
    options = whole.pop("search")
    check_keys("search.", options, [field.name for field in dataclasses.fields(SearchSettings)])
    settings = SearchSettings(**options)
    own = [
        override for override in HydraConfig.get().overrides.task if override_key(override).split(".")[0] != "search"
    ]
    _refuse(own)
    chosen = {group: option for group, option in HydraConfig.get().runtime.choices.items() if _is_group(group)}
    known = [*(key for key, _ in leaves(whole)), *chosen]
    space = read_space(options["space"], known, counts_flops=settings.counts_flops)
    fixed = [
        override for override in own if override_key(override) not in space or override_key(override) not in chosen
    ]
    base = compose("train", fixed) if config.retrofit is None else compose_retrofit(fixed)
    if teacher := named_teacher(base):  # one for all trials, whatever varies
        base.objective.teacher = find_teacher_run(teacher, fixed)
        fixed = [*(o for o in fixed if override_key(o) != "objective.teacher"), _teacher(base)]
    search = Search(settings, space, fixed, plain(base), chosen)
    if not search.base["data"]["threshold_examples"]:
        raise ValueError(
            "data.threshold_examples: expected some, since trials are compared on the threshold split and never on "
            "the reported one; use holdout=standard or small"
        )
    _check_ends(search)
    return search


def _teacher(base: DictConfig) -> str:
    return f"objective.teacher={typed(base.objective.teacher)}"


def _refuse(overrides: Sequence[str]) -> None:
    """Refuse what is of no use in a search."""
    keys = {override_key(override) for override in overrides}
    for key, remedy in (("resume", "the same command goes on with a search"), ("fresh", "remove the study's folder")):
        if key in keys:
            raise ValueError(f"{key}: of no use in a search; {remedy}")
    for key in keys:
        if key == "benchmark" or (key.startswith("evaluation.") and key != "evaluation.device"):
            raise ValueError(f"{key}: trials are only measured on the threshold split; evaluate the best one later")


def _check_ends(search: Search) -> None:
    """Check each end of the space as a training does, alone, before hours of trials."""
    check_training(search.base)
    for key, parameter in search.space.items():
        for value in parameter.ends:
            try:
                check_training(plain(search.config({key: value})))
            except (ValueError, HydraException, OmegaConfBaseException) as error:
                reason = one_line(error)
                raise ValueError(f"search.space.{key}: {value} is none of a training ({reason})") from error


def _run(search: Search, study: Study, trial: Trial) -> None:
    """Train and measure a trial, and tell the study; one that fails is told as well."""
    log.info("trial %d: %s", trial.number, " ".join(f"{key}={value}" for key, value in trial.values.items()))
    try:
        run, value = _train(search, trial, study.folder)
        study.complete(trial, value, run)
    except Exception as error:
        study.fail(trial, say(error, "search", not is_users(error)))


def _train(search: Search, trial: Trial, folder: Path) -> tuple[Path, Value]:
    config = search.config(trial.values)
    run = FinishedRun(trained(config, wait=True).path)  # another process may train the same
    places = {key: config.data[key] for key in ("root", "cache_dir")}
    trace = trace_held_out(run, folder / "traces" / f"{run.name}.parquet", places, config.evaluation.device)
    max_drop = search.settings.max_drop if search.settings.counts_flops else None
    return run.folder, measure(trace, OperatingPoint.of(plain(config.exit)), max_drop)


def _about(search: Search) -> About:
    task = build_task(search.base["task"])
    own = [override for override in HydraConfig.get().overrides.task if override_key(override) != "search.timeout"]

    def overrides(values: Sequence[str]) -> list[str]:
        given = {override_key(value) for value in values}
        return [*(o for o in search.fixed if override_key(o) not in given), *values]

    return About(
        task=task.name,
        metric=task.metrics[0],
        command=shlex.join(["eat", "search", *own]),
        train=lambda values: shlex.join(["eat", "train", *overrides(values)]),
        experiment=lambda values: experiment_text(f"search_{search.settings.name}", overrides(values)),
    )


def _is_group(group: str) -> bool:
    return not group.startswith("hydra/") and "@" not in group and group != "search"
