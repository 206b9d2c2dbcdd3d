"""The splits beside each other: lengths, and quality at full depth; and how the demo's sentences differ."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render
from eat.traces.difficulty import difficulty_rows
from eat.traces.replay import replay


def splits_section(run: Evaluation) -> Section:
    """Lay out each split and what it differs in from the main reported one."""
    splits = run.findings.splits
    main = next(facts for facts in splits if facts.name == run.traces.main)
    headers = ["split", "examples", "data", "mean tokens", "95 % below", "full depth [95 %]", f"against {main.name}"]
    lines = []
    for facts in splits:
        shown = number(facts.full_depth, 4)
        if facts.interval:
            shown += f" [{facts.interval[0]:.4f}, {facts.interval[1]:.4f}]"
        found = facts.differences(main)
        compared = "-" if facts is main else f"differs in {' and '.join(found)}" if found else "no difference seen"
        lengths = [number(facts.mean_length, 1), number(facts.length_percentiles["95"], 0)]
        lines.append([facts.name, f"{facts.examples:,}", facts.data, *lengths, shown, compared])
    text = render(headers, lines, markdown=True)
    if any(facts.differences(main) for facts in splits):
        text += "\n\nWhere a held-out split differs, what was chosen on it need not hold on the reported one."
    return Section("Splits", text)


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
