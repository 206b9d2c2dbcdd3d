"""What a search writes: search.md, trials.csv, best.yaml and search.png, from its study alone."""

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from eat.evaluation.report.figures import metric_name
from eat.evaluation.report.table import number, render
from eat.exits.points import OperatingPoint
from eat.files import write_text
from eat.search.best import Best, find_best
from eat.search.figure import draw_search
from eat.search.settings import SearchSettings
from eat.search.study import Study, Trial
from eat.tables import Table

MEASURED = ("quality", "full_depth_quality", "flops_ratio", "avg_depth")


@dataclasses.dataclass(frozen=True)
class About:
    """What a report says of a search beside its trials."""

    task: str
    metric: str  # the task's primary one
    command: str  # which goes on with the search, and repeats its report
    train: Callable[[Sequence[str]], str]  # overrides -> the command line of a training with them
    experiment: Callable[[Sequence[str]], str]  # overrides -> the text of a conf/experiment/*.yaml with them


def write_search(study: Study, about: About) -> None:
    """Write the report anew; processes that share the study take their turn."""
    with study.held():
        trials = study.trials()
        best = find_best(trials, study.settings)
        _trials_table(study).write(study.folder / "trials.csv", [_row(trial) for trial in trials])
        if best is not None:
            write_text(study.folder / "best.yaml", about.experiment(_overrides(best, study.settings)))
            draw_search(
                trials,
                best,
                about.metric,
                counts_flops=study.settings.counts_flops,
                path=study.folder / "search.png",
            )
        write_text(study.folder / "search.md", _text(study, trials, best, about))


def console(study: Study, about: About) -> str:
    """Return the table of all trials, and what the search recommends."""
    trials = study.trials()
    best = find_best(trials, study.settings)
    advice = f"\n\nrecommended: {about.train(_overrides(best, study.settings))}" if best else ""
    return f"{_table(study, trials)}{advice}"


def _overrides(best: Best, settings: SearchSettings) -> list[str]:
    """Return what is typed to train the best configuration at its operating point."""
    own = [f"{key}={value}" for key, value in best.trial.values.items()]
    return [*own, *(OperatingPoint.of(best.point.exit).overrides if settings.counts_flops else ())]


def _text(study: Study, trials: Sequence[Trial], best: Best | None, about: About) -> str:
    counts = {state: sum(trial.state == state for trial in trials) for state in ("complete", "failed", "running")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
    parts = [
        f"# Search `{study.settings.name}` on {about.task}",
        f"{len(trials)} trials: {said}. {_rule(study, about)}",
    ]
    if best is not None:
        parts += _advice(best, study.settings, about)
    parts += ["## Trials", _table(study, trials, markdown=True)]
    if study.settings.counts_flops:
        parts.append("\\* no other trial is better in both quality and FLOPs.")
    failed = [f"- trial {trial.number}: {trial.error}" for trial in trials if trial.error is not None]
    parts += ["## Failed", "\n".join(failed)] if failed else []
    parts += ["![search.png](search.png)"] if best is not None else []
    parts.append(f"Go on, or write this page anew: `{about.command}`")
    return "\n\n".join(parts) + "\n"


def _rule(study: Study, about: About) -> str:
    metric = metric_name(about.metric)
    examples = next((t.value.examples for t in study.trials() if t.value is not None), None)
    split = f"the threshold split{f' ({examples:,} examples)' if examples else ''}, never on the reported one"
    if not study.settings.counts_flops:
        return f"Quality is {metric} at full depth on {split}; Optuna's TPE maximises it."
    return (
        f"Quality is {metric} on {split}. From one training all thresholds are replayed; a trial counts as its "
        f"cheapest operating point that loses at most {study.settings.max_drop:g} against its own full depth there. "
        "Optuna's TPE maximises quality and minimises FLOPs: those executed, as a part of the dense encoder's at full "
        "depth."
    )


def _advice(best: Best, settings: SearchSettings, about: About) -> list[str]:
    overrides, point = _overrides(best, settings), OperatingPoint.of(best.point.exit)
    said = f"Trial {best.trial.number}: {metric_name(about.metric)} {best.point.quality:.4f}"
    if settings.counts_flops:
        said += (
            f" at {best.point.flops_ratio:.3f} of the FLOPs, with `{point.label}`: the cheapest operating point of all "
            f"trials that loses at most {settings.max_drop:g} against the best full depth among them."
        )
    else:
        said += ", the best full depth."
    evaluation = shlex.join(["eat", "evaluate", f"run={best.trial.run}", *point.overrides])
    flattered = (
        "Chosen as the best of many on these very examples, it is flattered by them, most where they are few. To "
        f"report it once on the reported split: `{evaluation}`"
    )
    return [
        "## Recommended",
        said,
        flattered,
        f"```\n{about.train(overrides)}\n```",
        f"The same as an experiment, `best.yaml`:\n\n```yaml\n{about.experiment(overrides).rstrip()}\n```",
    ]


def _table(study: Study, trials: Sequence[Trial], *, markdown: bool = False) -> str:
    counts_flops = study.settings.counts_flops
    chosen = ("quality", "FLOPs", "depth") if counts_flops else ()
    lines = []
    for trial in trials:
        point, full = (None, None) if trial.value is None else (trial.value.chosen, trial.value.full_depth)
        mark = " *" if trial.on_front and counts_flops else ""
        cells = [f"{trial.number}{mark}", *(trial.values.get(key, "-") for key in study.space)]
        if counts_flops:
            cells += [
                number(point and point.quality, 4),
                number(point and point.flops_ratio),
                number(point and point.avg_depth, 2),
            ]
        lines.append([*cells, number(full and full.quality, 4), trial.state])
    return render(("trial", *study.space, *chosen, "full depth", "state"), lines, markdown=markdown)


def _trials_table(study: Study) -> Table:
    columns = ("trial", "state", *study.space, *MEASURED, "exit", "on_front", "examples", "run", "error")
    text = frozenset({"state", *study.space, "exit", "run", "error"})
    return Table(columns, text=text, counts=frozenset({"trial", "on_front", "examples"}), title="columns of trials")


def _row(trial: Trial) -> dict[str, Any]:
    row = {"trial": trial.number, "state": trial.state, "run": trial.run, "error": trial.error, **trial.values}
    if trial.value is None:
        return row
    point = trial.value.chosen
    return row | {
        "quality": point.quality,
        "full_depth_quality": trial.value.full_depth.quality,
        "flops_ratio": point.flops_ratio,
        "avg_depth": point.avg_depth,
        "exit": OperatingPoint.of(point.exit).label,
        "on_front": int(trial.on_front),
        "examples": trial.value.examples,
    }
