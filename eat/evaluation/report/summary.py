"""The report to read: what was measured, on what, how sure it is, and what was not measured."""

from collections.abc import Iterable, Mapping, Sequence

from eat.benchmark.results import Benchmark
from eat.evaluation.findings import Findings
from eat.evaluation.report.benchmark import benchmark_section
from eat.evaluation.report.console import frontier_table
from eat.evaluation.report.rows import run_row
from eat.evaluation.report.table import Row, number, render
from eat.runs.finished import FinishedRun
from eat.traces.difficulty import difficulty_rows
from eat.traces.heads import measure_heads
from eat.traces.quality import Delta, metric_values
from eat.traces.replay import replay


def summary(
    run: FinishedRun,
    findings: Findings,
    rows: Sequence[Row],
    benchmark: Benchmark | None,
    *,
    baseline: str | None,
    command: str,
    figures: Iterable[str],
) -> str:
    """Write the summary of a report as Markdown.

    Args:
        run: The run.
        findings: Its findings.
        rows: Rows of `frontier.csv`.
        benchmark: What was measured, or None.
        baseline: Name of the dense run that quality is compared with, or None.
        command: What repeats this evaluation.
        figures: File names of the figures beside it.
    """
    main = findings.traces[findings.main]
    sections = [f"# {run.name}", _about(run, findings)]
    for split in findings.points:
        sections += [f"## {split}: quality and cost", frontier_table(rows, split, findings.own, markdown=True)]
    sections.append(_explain_table(baseline))
    sections += _differences(findings, baseline)
    sections += ["## Thresholds chosen on the threshold split", _choices(findings)]
    sections += ["## Splits", _splits(findings), "## Heads", _heads(findings)]
    if "difficulty" in main.columns:
        sections += ["## Difficulty", _difficulty(findings)]
    sections += ["## Benchmark", benchmark_section(findings.main, benchmark)]
    sections += ["## Environment", _environment(run, command)]
    sections += [f"![{name}]({name})" for name in figures]
    return "\n\n".join(section for section in sections if section) + "\n"


def difficulty_table(findings: Findings, *, markdown: bool = False) -> str:
    """Lay out how late each kind of the demo's sentences leaves at the own operating point, earliest first."""
    trace = findings.traces[findings.main]
    rows = difficulty_rows(trace, replay(trace, findings.own))
    headers = ["difficulty", "examples", "accuracy", "exit depth", "cue dropped"]
    lines = [
        [name, str(count), number(accuracy), number(depth, 2), number(dropped)]
        for name, count, accuracy, depth, dropped in rows
    ]
    return render(headers, lines, markdown=markdown)


def _about(run: FinishedRun, findings: Findings) -> str:
    row = run_row(run, findings.traces[findings.main].config)
    lines = [f"Task {row['task']}, backbone {row['backbone']} with {row['num_layers']} layers, budget {row['budget']}."]
    parts = [f"attention {row['attention']}" + (f" (window {row['window']})" if row["window"] else "")]
    parts += [f"pruner {row['pruner']}" + (f" ({row['ratio']} after {row['depths']})" if row["depths"] else "")]
    parts += [f"heads at {row['head_depths']} on {row['head_pooling']}", f"objective {row['objective']}"]
    lines += [f"{', '.join(parts)}; seed {row['seed']}.", f"Operating point of this report: {findings.own.label}."]
    lines += [f"- {s.name}: {s.examples:,} examples, {s.data}" for s in findings.splits]
    return "\n".join(line[0].upper() + line[1:] for line in lines)


def _explain_table(baseline: str | None) -> str:
    compared = f"the dense run {baseline}" if baseline else "this model's own full depth"
    return (
        "*: the operating point of this report. "
        f"Points: difference in the first metric to {compared}, with a paired bootstrap 95 % interval. ECE: 15 bins. "
        "Depth: mean exit depth. Tokens kept: share in the last executed block. FLOPs: executed / dense, unpadded, "
        "full depth. Speed-ups: over Hugging Face SDPA on padded batches, paired within rounds. A dash: not measured."
    )


def _differences(findings: Findings, baseline: str | None) -> list[str]:
    """Say what the own operating point and full depth lose, with tests; nothing where nothing can differ."""
    lines = []
    for split in findings.points:
        point = findings.own_points[split]
        lines.append(f"- {split}, {findings.own.label} against own full depth: {_delta(point.delta)}")
        if baseline:
            lines.append(f"- {split}, {findings.own.label} against {baseline}: {_delta(point.delta_dense)}")
        off = findings.dense_points[split]
        lines.append(f"- {split}, same weights with everything off against own full depth: {_delta(off.delta)}")
    return ["## Differences", "\n".join(lines)]


def _delta(delta: Delta | None) -> str:
    if delta is None:
        return "not measured"
    text = f"{delta.points:+.2f} points [{delta.low:+.2f}, {delta.high:+.2f}]"
    if delta.p_value is None:
        return text
    return f"{text}; {delta.gained} answers better, {delta.lost} worse, McNemar p = {delta.p_value:.3f}"


def _choices(findings: Findings) -> str:
    if not findings.choices:
        return "Nothing to choose: nobody leaves early, or there is no threshold split, or no sweep was made."
    headers = [
        "may lose there",
        "operating point",
        "loses there",
        f"points on {findings.main} [95 %]",
        "depth",
        "FLOPs",
    ]
    lines = []
    for choice in findings.choices:
        delta = choice.reported.delta
        shown = "-" if delta is None else f"{delta.points:+.2f} [{delta.low:+.2f}, {delta.high:+.2f}]"
        cost = [number(choice.reported.avg_depth, 2), number(choice.reported.flops_ratio)]
        lines.append(
            [
                f"{choice.max_drop:g} point{'s' if choice.max_drop != 1 else ''}",
                choice.exit.label,
                number(choice.drop, 2),
                shown,
                *cost,
            ]
        )
    return (
        "The cheapest swept operating point that keeps to each budget on held-out examples, then measured on the "
        "reported split. This is a choice, not a guarantee.\n\n" + render(headers, lines, markdown=True)
    )


def _splits(findings: Findings) -> str:
    main = next(s for s in findings.splits if s.name == findings.main)
    headers = ["split", "examples", "data", "mean tokens", "95 % below", "full depth [95 %]", f"against {main.name}"]
    lines = []
    for facts in findings.splits:
        shown = number(facts.full_depth, 4)
        if facts.interval:
            shown += f" [{facts.interval[0]:.4f}, {facts.interval[1]:.4f}]"
        found = facts.differences(main)
        compared = "-" if facts is main else f"differs in {' and '.join(found)}" if found else "no difference seen"
        lengths = [number(facts.mean_length, 1), number(facts.long_length, 0)]
        lines.append([facts.name, f"{facts.examples:,}", facts.data, *lengths, shown, compared])
    text = render(headers, lines, markdown=True)
    if any(facts.differences(main) for facts in findings.splits):
        text += "\n\nWhere a held-out split differs, what was chosen on it need not hold on the reported one."
    return text


def _heads(findings: Findings) -> str:
    trace = findings.traces[findings.main]
    calibrated = [None] * len(trace.head_depths) if trace.is_regression else measure_heads(trace)
    lines = []
    for head, (depth, found) in enumerate(zip(trace.head_depths, calibrated, strict=True)):
        values = metric_values(trace.task, trace.labels, trace.all_logits[:, head])
        worth = [number(v, 4) for v in ((found.ece, found.brier, found.auroc) if found else ())]
        temperature = [number(trace.temperatures[head], 3)] if trace.temperatures else []
        lines.append([f"depth {depth}", *(number(v, 4) for v in values.values()), *worth, *temperature])
    headers = [f"head on {findings.main}", *trace.task.metrics]
    headers += [] if trace.is_regression else ["ECE (15 bins)", "Brier", "AUROC of doubt"]
    headers += ["temperature"] if trace.temperatures else []
    text = render(headers, lines, markdown=True)
    if not trace.is_regression:
        text += "\n\nAUROC of doubt: how often a wrong answer is less sure than a right one; 0.5 is chance."
    return text


def _difficulty(findings: Findings) -> str:
    trace = findings.traces[findings.main]
    rows = difficulty_rows(trace, replay(trace, findings.own))
    depths = {name: depth for name, _, _, depth, _ in rows}
    text = f"At {findings.own.label}; a cue is dropped when all its tokens are pruned before the sentence leaves.\n\n"
    text += difficulty_table(findings, markdown=True)
    if "plain" in depths:
        later = [f"{name} {depth - depths['plain']:+.2f}" for name, depth in depths.items() if name != "plain"]
        text += f"\n\nLayers later than plain sentences: {', '.join(later)}."
    return text


def _environment(run: FinishedRun, command: str) -> str:
    facts = run.environment()
    lines = [f"- {key}: {value}" for key, value in facts.items() if not isinstance(value, Mapping | list)]
    packages = facts.get("packages") or {}
    lines += [f"- packages: {', '.join(f'{name} {version}' for name, version in packages.items())}"] if packages else []
    return "\n".join([*(lines or ["The run noted nothing."]), "", f"    {command}"])
