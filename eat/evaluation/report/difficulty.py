"""Where the demo's sentences leave, by how hard they were made."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render
from eat.traces.difficulty import difficulty_rows
from eat.traces.replay import replay


def difficulty_section(run: Evaluation) -> Section | None:
    """Lay out how late each kind leaves at the own operating point, earliest first; None for other tasks."""
    trace = run.traces.reported
    if "difficulty" not in trace.columns:
        return None
    rows = difficulty_rows(trace, replay(trace, run.own))
    headers = ["difficulty", "examples", "accuracy", "exit depth", "cue dropped"]
    lines = [
        [name, str(count), number(accuracy), number(depth, 2), number(dropped)]
        for name, count, accuracy, depth, dropped in rows
    ]
    text = f"At {run.own.label}; a cue is dropped when all its tokens are pruned before the sentence leaves.\n\n"
    text += render(headers, lines, markdown=True)
    depths = {name: depth for name, _, _, depth, _ in rows}
    if "plain" in depths:
        later = [f"{name} {depth - depths['plain']:+.2f}" for name, depth in depths.items() if name != "plain"]
        text += f"\n\nLayers later than plain sentences: {', '.join(later)}."
    return Section("Difficulty", text, console=render(headers, lines))
