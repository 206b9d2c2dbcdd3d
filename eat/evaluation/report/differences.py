"""What the own operating point, full depth and pruning lose, with paired tests; and what chosen thresholds lose."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, points_text, render
from eat.traces.quality import Delta


def differences_section(run: Evaluation) -> Section:
    """List the differences on each reported split."""
    findings, label = run.findings, run.own.label
    lines = []
    for split in findings.points:
        point, off = findings.own_points[split], findings.dense_points[split]
        lines.append(f"- {split}, {label} against own full depth: {_delta(point.delta)}")
        if run.baseline_run is not None:
            lines.append(f"- {split}, {label} against {run.baseline_run.name}: {_delta(point.delta_dense)}")
        lines.append(f"- {split}, same weights with everything off against own full depth: {_delta(off.delta)}")
    return Section("Differences", "\n".join(lines))


def _delta(delta: Delta | None) -> str:
    if delta is None:
        return "not measured"
    text = points_text(delta, " points")
    if delta.p_value is None:
        return text
    return f"{text}; {delta.gained} answers better, {delta.lost} worse, McNemar p = {delta.p_value:.3f}"


def choices_section(run: Evaluation) -> Section:
    """Lay out the cheapest operating point within each budget, chosen on the threshold split."""
    title, choices = f"Thresholds chosen on {run.traces.thresholds_from}", run.findings.choices
    if not choices:
        nothing = "Nothing to choose: no sequence can exit early, or there is no threshold split, or no sweep was made."
        return Section(title, nothing)
    headers = ["may lose there", "operating point", "loses there", f"points on {run.traces.main} [95 %]"]
    headers += ["depth", "FLOPs"]
    lines = [
        [
            f"{choice.max_drop:g} point{'s' if choice.max_drop != 1 else ''}",
            choice.exit.label,
            number(choice.drop, 2),
            points_text(choice.reported.delta),
            number(choice.reported.avg_depth, 2),
            number(choice.reported.flops_ratio),
        ]
        for choice in choices
    ]
    text = (
        "The cheapest swept operating point that keeps to each budget on held-out examples, then measured on the "
        "reported split. This is a choice, not a guarantee.\n\n"
    )
    if run.traces.chooses_on_reported:
        text = (
            "The cheapest swept operating point that keeps to each budget on the reported split itself: nothing was "
            "held out, so what it loses elsewhere is likely to be more.\n\n"
        )
    return Section(title, text + render(headers, lines, markdown=True))
