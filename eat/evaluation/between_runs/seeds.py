"""Runs that differ in their seed alone as one row: mean, sample deviation, and how many there are."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from eat.evaluation.between_runs.sound import Reported
from eat.runs.naming import seedless_fingerprint, training_settings

Group = Sequence[Reported]
"""Reports of one configuration at one operating point and split, of one seed each."""

AVERAGED = (
    *(("value", None, 4), ("delta_points", None, 2), ("ece", None, 3), ("avg_depth", None, 2), ("retention", None, 2)),
    *(("flops_ratio", None, 3), ("latency_ms_p50", 1, 2), ("speedup", 1, 2), ("speedup", 32, 2)),
)
"""What is averaged: column, batch size (None for any), digits; in the order of the combined table."""


def group_seeds(reports: Sequence[Reported]) -> list[Group]:
    """Put reports together that differ in nothing but the seed of their training, in the order of the first."""
    groups: dict[tuple[str, ...], list[Reported]] = {}
    for report in reports:
        groups.setdefault(report.configuration(seed=False), []).append(report)
    return list(groups.values())


def averaged(group: Group) -> list[str]:
    """Return the cells of `AVERAGED`: mean ± sample deviation; a dash where a report lacks the column."""
    return [_mean_and_deviation(group, column, size, digits) for column, size, digits in AVERAGED]


def missing_seeds(groups: Sequence[Group], names: Sequence[str]) -> list[str]:
    """Return a line for each group that lacks seeds which another has."""
    seeds = [{report.run.config["seed"] for report in group} for group in groups]
    wanted = sorted(set().union(*seeds))
    return [
        f"missing: seed {_listed(set(wanted) - found)} of {name}; only {_listed(found)} of {_listed(wanted)} is there"
        for name, found in zip(names, seeds, strict=True)
        if found != set(wanted)
    ]


def group_names(groups: Sequence[Group], varying: Sequence[str]) -> list[str]:
    """Name each group by the columns in which configurations differ, and where those are alike by their settings."""
    first = [group[0] for group in groups]
    keys = [seedless_fingerprint(report.run.config) for report in first]
    told = tell_apart(dict(zip(keys, first, strict=True)), [column for column in varying if column != "seed"])
    return [told[key] or str(report.row["task"]) for key, report in zip(keys, first, strict=True)]


def tell_apart(reports: Mapping[str, Reported], varying: Sequence[str]) -> dict[str, str]:
    """Describe each report by the columns in which they differ, then by the settings of those that are still alike.

    Reports that differ in neither are described alike.
    """
    rows = {key: report.row for key, report in reports.items()}
    columns = [column for column in varying if len({str(row[column]) for row in rows.values()}) > 1]
    parts = {key: [f"{column} {row[column]}" for column in columns] for key, row in rows.items()}
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    settings = {key: training_settings(report.run.config) for key, report in reports.items()}
    for key, values in settings.items():
        alike.setdefault(tuple(parts[key]), []).append(values)
    known = dict.fromkeys(place for values in settings.values() for place in values)
    differing = [p for p in known if any(len({str(values.get(p)) for values in some}) > 1 for some in alike.values())]
    for key, values in settings.items():
        parts[key] += [f"{place} {values[place]}" for place in differing if place in values]
    return {key: ", ".join(part) for key, part in parts.items()}


def _mean_and_deviation(group: Group, column: str, size: int | None, digits: int) -> str:
    values = [(report.row if size is None else report.own.get(size, {})).get(column) for report in group]
    numbers = [float(value) for value in values if value is not None]
    if len(numbers) < len(values):
        return "-"
    return f"{statistics.mean(numbers):.{digits}f} ± {statistics.stdev(numbers):.{digits}f}"


def _listed(seeds: Any) -> str:
    return ", ".join(map(str, sorted(seeds)))
