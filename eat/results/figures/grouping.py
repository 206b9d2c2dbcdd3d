"""Sort finished runs into suites and experiments, and refuse what must not be compared."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from eat.results.figures.evidence import Evidence
from eat.results.figures.suite import Suite, suite_key
from eat.runs.naming import seedless_fingerprint


def suites(runs: Sequence[Evidence]) -> Iterator[Suite]:
    """Sort runs into suites: by task, backbone, budget and protocol.

    Raises:
        ValueError: If runs that belong together answer other examples, or an experiment has a seed twice.
    """
    groups: dict[tuple[str | None, ...], list[Evidence]] = {}
    for run in runs:
        groups.setdefault(suite_key(run), []).append(run)
    for group in groups.values():
        for run in group[1:]:
            _check_alike(group[0], run)
        yield _ordered(Suite(_labelled(group)))


def _check_alike(one: Evidence, other: Evidence) -> None:
    ours, theirs = one.traces.reported, other.traces.reported
    if ours.split != theirs.split or not np.array_equal(ours.labels, theirs.labels):
        raise ValueError(
            f"runs: {one.name} and {other.name} have one task, budget and protocol, but answer other examples: "
            f"{len(ours):,} of {ours.split!r} and {len(theirs):,} of {theirs.split!r}; draw them apart"
        )


def _labelled(runs: Sequence[Evidence]) -> dict[str, list[Evidence]]:
    """Name experiments as ``experiment/*.yaml`` does, and by what differs where several have the same name."""
    groups: dict[str, list[Evidence]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    for same in groups.values():
        seeds = [run.config.get("seed") for run in same]
        twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if twice is not None:
            one, other, *_ = (run.name for run in same if run.config.get("seed") == twice)
            raise ValueError(f"runs: {one} and {other} are one experiment with seed {twice}; leave one of them out")
    names = [str(same[0].config.get("experiment") or "run").rsplit("/", 1)[-1] for same in groups.values()]
    labels = {}
    for name, same in zip(names, groups.values(), strict=True):
        clash = [_parts(other[0]) for n, other in zip(names, groups.values(), strict=True) if n == name]
        common = set.intersection(*map(set, clash))
        own = "" if len(clash) == 1 else " ".join(part for part in _parts(same[0]) if part not in common)
        label = own or name
        labels[label if label not in labels else f"{label} {_identity(same[0])}"] = same
    return labels


def _identity(run: Evidence) -> str:
    """Name the experiment: configuration and exit, but not the seed, nor which run of a teacher taught."""
    return seedless_fingerprint({**run.config, "operating_point": run.point.label})


def _parts(run: Evidence) -> list[str]:
    return re.sub(r"-seed\d+-[0-9a-f]{8}", "", run.name).split("-")


def _ordered(suite: Suite) -> Suite:
    """Put the dense experiment first, then static ones by depth, then the others by name."""
    kinds = ("dense", "static", "adaptive")

    def place(label: str) -> tuple[int, int, str]:
        run = suite.experiments[label][0]
        kind = kinds.index(suite.kind(run))
        return kind, run.num_layers if kind == 1 else 0, label

    return Suite({label: suite.experiments[label] for label in sorted(suite.experiments, key=place)})
