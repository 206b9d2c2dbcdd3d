"""Each head by itself on the main split, and how far its probabilities can be trusted."""

from functools import partial

from eat.evaluation.context import Evaluation
from eat.evaluation.report.figures import draw_calibration
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render
from eat.traces.heads import measure_heads
from eat.traces.quality import metric_values


def heads_section(run: Evaluation) -> Section:
    """Lay out a line per head; draw reliability where there are classes."""
    trace = run.traces.reported
    calibrated = [None] * len(trace.head_depths) if trace.is_regression else measure_heads(trace)
    lines = []
    for head, (depth, found) in enumerate(zip(trace.head_depths, calibrated, strict=True)):
        values = metric_values(trace.task, trace.labels, trace.all_logits[:, head])
        worth = [number(v, 4) for v in ((found.ece, found.brier, found.auroc) if found else ())]
        temperature = [number(trace.temperatures[head], 3)] if trace.temperatures else []
        lines.append([f"depth {depth}", *(number(v, 4) for v in values.values()), *worth, *temperature])
    headers = [f"head on {trace.split}", *trace.task.metrics]
    headers += [] if trace.is_regression else ["ECE (15 bins)", "Brier", "AUROC of doubt"]
    headers += ["temperature"] if trace.temperatures else []
    text = render(headers, lines, markdown=True)
    if trace.is_regression:
        return Section("Heads", text)
    text += "\n\nAUROC of doubt: how often a wrong answer is less sure than a right one; 0.5 is chance."
    figure = partial(draw_calibration, trace.raw, run.temperatures)
    return Section("Heads", text, files={"calibration.png": figure})
