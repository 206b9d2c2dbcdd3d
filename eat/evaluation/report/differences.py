"""What the own operating point, full depth and pruning lose, with paired tests."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.console import points_text
from eat.evaluation.report.section import Section
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
