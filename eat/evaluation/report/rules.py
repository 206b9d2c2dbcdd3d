"""Sufficient rules as files and as the tables that are printed."""

import json
from pathlib import Path

from eat.checks import shown
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, ratio_text, render
from eat.evaluation.rules.choose import Tested
from eat.evaluation.rules.results import RulesResult
from eat.tables import Table

TAPS = Table(
    ("tap", "depth", "pooling", "class", "coverage", "saved"),
    text=frozenset({"tap", "pooling"}),
    counts=frozenset({"depth", "class"}),
)
"""A line per tap, pooling and class: what the threshold split says of the best half-space there."""


def rules_section(result: RulesResult, folder: Path) -> Section:
    """Lay out rules.json, rules.md, rules_taps.csv, and what is printed."""

    def said(markdown: bool) -> list[str]:
        tables = [_rules_table(result, markdown), _times_table(result, markdown)]
        return [_outcome(result), *filter(None, tables), *_about(result)]

    taps = [
        TAPS.row(
            tap=one.place[0].place,
            depth=one.place[0].depth,
            pooling=one.place[1],
            coverage=one.coverage,
            saved=one.saved,
            **{"class": one.label},
        )
        for one in result.candidates
    ]
    return Section(
        files={
            "rules.json": json.dumps(result.to_json(), indent=1) + "\n",
            "rules.md": "\n\n".join(["# Sufficient rules", *said(markdown=True)]) + "\n",
            "rules_taps.csv": TAPS.as_csv(taps),
        },
        console="\n\n".join([*said(markdown=False), f"rules: {folder / 'rules.md'}"]),
    )


def _outcome(result: RulesResult) -> str:
    """Say in a line what is certified, or that nothing is."""
    settings, kept = result.settings, result.kept
    if not result.rules:
        return f"no rule certified: at most {settings.max_false_exits:.2%} of texts may exit falsely"
    return (
        f"rules certified: {len(result.rules)}; with {settings.confidence:.0%} confidence at most {result.bound:.2%} "
        f"of all texts exit by one with another answer than full depth's. On {result.split} {kept.exits} of "
        f"{kept.examples} texts exit by a rule ({kept.exits / kept.examples:.1%}), {kept.false} of them falsely"
    )


def _rules_table(result: RulesResult, markdown: bool) -> str:
    """Lay out the rules as they were tested, in the order in which sequences meet them."""
    if not result.tested:
        return ""
    headers = [
        *("class", "tap", "pooling", f"false of fired, {result.certified_on} certification texts"),
        *(
            "certified, of all texts",
            "bound, of its exits",
            f"false of exits, {result.kept.examples} {result.split} texts",
        ),
    ]
    lines = []
    for one, (exits, false) in zip(result.tested, result.kept.by_rule, strict=True):
        tap, pooling = one.candidate.place
        bounds = [_bound(one, "bound"), _bound(one, "exit_bound")]
        lines.append(
            [
                result.classes[one.candidate.label],
                tap.label,
                pooling,
                f"{one.false} of {one.fires}",
                *bounds,
                f"{false} of {exits}",
            ]
        )
    return render(headers, lines, markdown=markdown)


def _bound(tested: Tested, name: str) -> str:
    return "refused" if tested.rule is None else f"{getattr(tested.rule, name):.2%}"


def _times_table(result: RulesResult, markdown: bool) -> str:
    """Lay out accuracy and time of the contenders, without rules and with them."""
    times = result.times
    if times is None:
        return ""
    headers = [
        f"batch size {result.settings.batch_size}, threads: {times.threads}",
        *(f"accuracy, {result.split}", "ms per call, p50", "texts/s", "speed-up over full depth"),
    ]
    lines = [
        [
            name.replace("never", "full depth"),
            number(result.kept.accuracy[name], 4),
            number(timing.latency_ms[0], 2),
            number(timing.examples_per_s, 0),
            ratio_text(timing.speedup),
        ]
        for name, timing in times.timings.items()
    ]
    return render(headers, lines, markdown=markdown)


def _about(result: RulesResult) -> list[str]:
    """Say what was fitted and tested on what, and what a bound is."""
    refused = [
        f"class {shown(result.classes[one.candidate.label])}: {one.reason}" for one in result.tested if one.rule is None
    ]
    said = [f"Refused: {'; '.join(refused)}."] if refused else []
    if not result.tested:
        said.append("No half-space saves work within the bound on the threshold split.")
    said.append(
        f"Weights fitted on {result.fitted_on} training rows, tap and thresholds chosen on {result.chosen_on} rows of "
        f"the threshold split, tested on {result.certified_on} of the certification split by exact binomial tests in "
        "fixed sequence; bound and error are split evenly among the rules. That no text of a split exits falsely is no "
        "guarantee; what is certified is, for texts like those of the certification split. The bound of a rule's "
        "exits is of that threshold taken alone."
    )
    if result.times is not None:
        times = result.times
        said.append(
            f"Times: {times.examples} texts, {times.rounds} rounds, contenders in turns, device {times.device}. Live "
            f"answers that equal the expected ones: {times.agree[0]} of {times.agree[1]}."
        )
        if times.over_exits is not None:
            said.append(f"The exits with rules over the same without: {ratio_text(times.over_exits)}.")
    return said
