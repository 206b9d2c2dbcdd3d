"""Sort runs into what may be compared, and seeds of one configuration into one experiment."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eat.results.collect import LoggedRun, Problem
from eat.runs.naming import COUNTED_ELSEWHERE, NOT_TRAINING, is_as_before, leaves

IGNORED = ("seed", "_target_", "_partial_")  # keys that do not tell experiments apart
RUNS = ("teacher", "classifier")  # keys whose value names another run, of the same seed
WEIGHTS = "backbone.path"
"""The key that may name one as well, or any folder of weights."""
UNNAMED = "none"
"""Name of an experiment that has none."""
_SEEDED = re.compile(r"-seed\d+-[0-9a-f]{8}$")


@dataclasses.dataclass(frozen=True, order=True)
class Block:
    """What runs must have in common to stand in one table."""

    task: str
    split: str  # the reported split
    data: str  # of it: complete, or subset n of N
    rows: str  # of the training: all, or how many
    budget: str
    holdout: str
    backbone: str
    start: str = ""  # what its weights were trained on before, where that is a run of another task or a folder

    @property
    def weights(self) -> str:
        """Name the backbone, and whose weights of it training began with."""
        return f"{self.backbone} from {self.start}" if self.start else self.backbone

    @property
    def title(self) -> str:
        """Name the block in a heading."""
        return f"{self.task}, {self.weights}, budget {self.budget}, holdout {self.holdout}"


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """Runs that differ in their seed alone."""

    name: str  # that of its configuration, and what tells it from others of the same name
    kind: str  # that of its configuration alone
    block: Block
    runs: tuple[LoggedRun, ...]  # in the order of their seeds

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs."""
        return tuple(run.seed for run in self.runs)

    @property
    def settings(self) -> dict[str, Any]:
        """What tells it apart: see `settings`."""
        return settings(self.runs[0].run.config)

    def of_seed(self, seed: int) -> LoggedRun | None:
        """Return the run of a seed."""
        return next((run for run in self.runs if run.seed == seed), None)


def group(runs: Sequence[LoggedRun]) -> tuple[dict[Block, list[Experiment]], list[Problem]]:
    """Group runs by all that their results follow from, the seed left out.

    Of two runs with one key and one seed that answer alike one is taken; where they answer differently both are left
    out. Two configurations under one experiment's name stay two lines, named by the keys in which they differ.
    """
    problems: list[Problem] = []
    by_name = {run.run.name: run for run in runs}
    keyed: dict[tuple[Block, str, str], dict[int, list[LoggedRun]]] = {}
    for run in runs:
        key = block_of(run, by_name), experiment_name(run), digest(run.run.config)
        keyed.setdefault(key, {}).setdefault(run.seed, []).append(run)
    named: dict[tuple[Block, str], list[tuple[LoggedRun, ...]]] = {}
    for (block, name, _), by_seed in keyed.items():
        chosen = [_only(by_seed[seed], problems) for seed in sorted(by_seed)]
        alone = [run for run in chosen if run is not None]
        if alone:
            named.setdefault((block, name), []).append(tuple(alone))
    blocks: dict[Block, list[Experiment]] = {}
    for (block, name), found in sorted(named.items(), key=lambda item: item[0]):
        labels = _labels(name, [settings(members[0].run.config) for members in found], problems)
        for label, members in zip(labels, found, strict=True):
            blocks.setdefault(block, []).append(Experiment(label, name, block, members))
            problems += _missing_seeds(block, label, members)
    return blocks, problems


def block_of(run: LoggedRun, others: Mapping[str, LoggedRun]) -> Block:
    """Return what a run may be compared within; ``others`` are the runs at hand, by name."""
    config, reported = run.run.config, run.traces.reported
    wanted = config["data"].get("train_examples")
    return Block(
        task=reported.task.name,
        split=reported.split,
        data=str(reported.metadata["data"]),
        rows="all rows at hand that are not held out" if wanted is None else f"{wanted:,} rows",
        budget=str((config.get("budget") or {}).get("name")),
        holdout=run.run.holdout,
        backbone=str(config["backbone"].get("name")),
        start=_start(run, others),
    )


def _start(run: LoggedRun, others: Mapping[str, LoggedRun]) -> str:
    """Return what a run's weights were trained on before its task; of one that goes on, where the first one began."""
    path = run.run.config["backbone"].get("path")
    if not goes_on_from(run):
        return _weights_of(path)
    before = others.get(_run_folder(path).name)
    return "" if before is None or before is run else _start(before, others)


def goes_on_from(run: LoggedRun) -> str:
    """Return the run of the same task whose weights this one began with, less its seed; empty where there is none."""
    path = run.run.config["backbone"].get("path")
    folder = None if path is None else _run_folder(path)
    return _weights_of(path) if folder is not None and folder.parent.name == run.traces.reported.task.name else ""


def epochs_of(run: LoggedRun) -> int | float | None:
    """Return for how many epochs a run was trained, as configured; None where steps say when it ends."""
    trainer = run.run.config.get("trainer") or {}
    return None if (trainer.get("max_steps") or -1) > 0 else trainer.get("max_epochs")


def experiment_name(run: LoggedRun) -> str:
    """Return the last part of a run's experiment: ``static_4`` of ``ablation/static_4``."""
    return str(run.run.config.get("experiment") or UNNAMED).rpartition("/")[2]


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells experiments apart, flat: dotted key -> value; a key that is null counts as absent.

    The exit is among it, though it trains nothing: tables are at the run's own operating point.
    """
    ignored = [place for place in (*NOT_TRAINING, *COUNTED_ELSEWHERE) if place != "exit"]
    flat = dict(_flat(config))
    return {key: value for key, value in flat.items() if not any(f"{key}.".startswith(f"{p}.") for p in ignored)}


def digest(config: Mapping[str, Any]) -> str:
    """Name a configuration without its seed."""
    return hashlib.sha256(json.dumps(settings(config), sort_keys=True).encode()).hexdigest()[:8]


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, value in leaves(config):
        parts = place.split(".")
        if value is None or is_as_before(place, value) or not set(parts).isdisjoint(IGNORED):
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 2, as typed, is the 2.0 of a YAML
        elif isinstance(value, str) and place == WEIGHTS:
            value = _weights_of(value)
        elif isinstance(value, str) and parts[-1] in RUNS:
            value = _seedless(value)
        yield place, value


def _run_folder(path: str) -> Path:
    """Return the run folder that a path to a run, or to the model in it, is about."""
    return Path(path).parent if Path(path).name == "model" else Path(path)


def _weights_of(path: str | None) -> str:
    """Name a run by its task and its own name less the seed, another folder by its name."""
    if path is None:
        return ""
    folder = _run_folder(path)
    return "/".join(filter(None, [folder.parent.name, _seedless(path)])) if _SEEDED.search(folder.name) else folder.name


def _seedless(path: str) -> str:
    return _SEEDED.sub("", _run_folder(path).name)


def _only(runs: Sequence[LoggedRun], problems: list[Problem]) -> LoggedRun | None:
    """Return the one run of a key and a seed; None where several answer differently."""
    first, *others = runs
    differing = [run for run in others if not _alike(first, run)]
    folders = ", ".join(str(run.run.folder) for run in runs)
    if differing:
        what = "the same configuration and seed with other results, so none counts; remove one or mark it superseded"
        problems.append(Problem(folders, what))
        return None
    if others:
        problems.append(Problem(folders, "the same run several times; it is counted once"))
    return first


def _alike(one: LoggedRun, other: LoggedRun) -> bool:
    ours, theirs = one.traces.reported.all_logits, other.traces.reported.all_logits
    return one.own == other.own and bool(np.array_equal(ours, theirs))


def _labels(name: str, configs: Sequence[Mapping[str, Any]], problems: list[Problem]) -> list[str]:
    """Name several configurations of one experiment by the keys in which they differ, as few as tell them apart."""
    if len(configs) == 1:
        return [name]
    keys = sorted({key for config in configs for key in config})
    differing = [key for key in keys if len({json.dumps(config.get(key)) for config in configs}) > 1]
    dependent = [key for key in differing if f"{key.rpartition('.')[0]}.name" in differing and key[-5:] != ".name"]
    own = [key for key in differing if key not in dependent]  # not an argument of a part that is another one
    absent = [key for key in own if any(key not in config for config in configs)]
    if absent:
        what = (
            f"some of its runs lack {', '.join(absent)}: they may be of another version of eat, and stay on their own"
        )
        problems.append(Problem(name, what))
    labels = [name if name != UNNAMED else ""] * len(configs)
    for key in (*own, *dependent):
        if len(set(labels)) < len(labels):
            told = [f"{label}, {key} {c[key]}" if key in c else label for label, c in zip(labels, configs, strict=True)]
            told = [label.removeprefix(", ") for label in told]
            labels = told if len(set(told)) > len(set(labels)) else labels
    return [label or name for label in labels]


def _missing_seeds(block: Block, name: str, runs: Sequence[LoggedRun]) -> list[Problem]:
    seeds = {run.seed for run in runs}
    missing = [str(seed) for seed in range(max(seeds)) if seed not in seeds]
    what = f"seed {', '.join(missing)} is missing, the others are averaged without"
    return [Problem(f"{name} ({block.title})", what)] if missing else []
