"""The part of a report that is about time and memory: every contender, and who was not measured and why."""

from collections.abc import Mapping
from typing import Any

from eat.benchmark.agreement import another_model, comparison_text
from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.engines import ENGINES
from eat.benchmark.protocol import ENOUGH_BATCHES, enough
from eat.benchmark.results import Benchmark, Measurement
from eat.evaluation.context import Evaluation
from eat.evaluation.report.rows import efficiency, last_head_reads, point_label, shown_ratio
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, ratio_text, render
from eat.traces.run_traces import RunTraces

EFFICIENCY = (
    "FLOPs: executed on these examples / those of our encoder with everything off. Efficiency: speed-up over that "
    "encoder x FLOPs: how much of the saved work became saved time (1.0 is the limit, unless dense attention is slow "
    "per FLOP)."
)
MEMORY = (
    "Each contender alone in a process that answered the same batches. Peak: the most memory while it answered, "
    "libraries and weights included. Over loaded: the part of it beyond what the loaded model held. Libraries: what "
    "the process held before any weights; ONNX Runtime's also holds torch, which it would not need."
)


def benchmark_section(run: Evaluation) -> Section:
    """Lay out the times of this evaluation, or of an earlier one, also of an older version."""
    measured = run.benchmark
    return Section("Benchmark", "Not measured." if measured is None else benchmark_text(run.traces, measured))


def benchmark_text(traces: RunTraces, benchmark: Benchmark) -> str:
    """Lay out a benchmark on examples of the main split as Markdown."""
    environment = benchmark.environment
    parts = [
        ", ".join(f"{key} {value}" for key, value in environment.items() if value is not None) + ".",
        _protocol(traces.main, benchmark),
        EFFICIENCY,
        _times(benchmark),
        _absent(benchmark),
        _memory(benchmark),
        _agreement(benchmark, last_head_reads(traces)),
    ]
    return "\n\n".join(part for part in parts if part)


def _protocol(split: str, benchmark: Benchmark) -> str:
    measurements = benchmark.measurements
    sizes = {measured.batch_size: measured for measured in measurements}
    examples = "; ".join(_amount(measured, benchmark.settings) for measured in sizes.values())
    older = any(measured.rounds is None for measured in measurements)
    over = "the rounds alone (an older version measured this)" if older else "rounds and batches of texts"
    text = (
        f"Examples of {split} in random order: {examples}. Contenders take turns; padding, packing and copying logits "
        "back are inside the timed region. Speed-ups are medians of ratios paired within a round, with bootstrap 95 % "
        f"intervals over {over}."
    )
    few = [measured for measured in sizes.values() if not enough(measured.examples, measured.batch_size)]
    if few:
        shown = ", ".join(f"{one.batches} at batch size {one.batch_size}" for one in few)
        text += f" Too few batches for an interval that holds for other texts: {shown}, of {ENOUGH_BATCHES} needed."
    tokenising = {m.batch_size: m.tokenising_ms for m in measurements if m.tokenising_ms is not None}
    if tokenising:
        shown = ", ".join(f"{value:.2f} ms at batch size {size}" for size, value in tokenising.items())
        text += f" With tokenising: its time on one thread ({shown}) added to both."
    if benchmark.environment["dtype"] != "float32":
        text += " Quality in all tables is that of float32 weights."
    return text


def _amount(measured: Measurement, settings: Mapping[str, Any]) -> str:
    batches = "1 full batch" if measured.batches == 1 else f"{measured.batches} full batches"
    rounds, warmup = measured.rounds or settings["rounds"], settings["warmup"]
    warmup = warmup if measured.warmup is None else measured.warmup
    return (
        f"{measured.examples} in {batches} at batch size {measured.batch_size}, {rounds} rounds after {warmup} "
        "warm-up calls"
    )


def _times(benchmark: Benchmark) -> str:
    tokenised = any(measured.speedup_tokenised is not None for measured in benchmark.measurements)
    headers = ["contender", "batch", "threads", "ms p50", "p95", "p99", "examples/s"]
    headers += ["over Hugging Face, padded [95 %]"]
    headers += ["with tokenising"] if tokenised else []
    headers += ["over everything off [95 %]", "FLOPs", "efficiency"]
    lines = []
    for measured in benchmark.measurements:
        line = [point_label(measured.exit, measured.contender), measured.batch_size, measured.threads]
        line += [*(number(ms, 2) for ms in measured.latency_ms), number(measured.examples_per_s, 0)]
        again = (measured.speedup_tokenised or {}).get(PADDED)
        ratios = [measured.speedup[PADDED], *([again] if tokenised else []), measured.speedup[ALL_OFF]]
        line += [ratio_text(shown_ratio(measured, ratio)) for ratio in ratios]
        line += [number(measured.flops_ratio), number(efficiency(measured), 2)]
        lines.append([str(cell) for cell in line])
    return render(headers, lines, markdown=True)


def _absent(benchmark: Benchmark) -> str:
    lines = [f"- {point_label(None, name)}: {reason}" for name, reason in benchmark.not_measured.items()]
    return "\n".join(["Not measured:", "", *lines]) if lines else ""


def _memory(benchmark: Benchmark) -> str:
    memory = benchmark.memory
    if memory is None:
        return ""
    points = benchmark.points()
    title = f"Memory at batch size {memory.batch_size}, {memory.threads} threads, {memory.examples} examples"
    headers = [title, "peak MiB", "over loaded", "libraries"]
    lines = [
        [
            point_label(points.get(name), name),
            *(number(mib, 1) for mib in (peak.peak_mib, peak.over_loaded_mib, peak.libraries_mib)),
        ]
        for name, peak in memory.peaks.items()
    ]
    return f"{MEMORY}\n\n{render(headers, lines, markdown=True)}"


def _agreement(benchmark: Benchmark, reads: str) -> str:
    points, measured = benchmark.points(), {one.contender: one for one in benchmark.measurements}
    compared = benchmark.beside_all_off
    title = "Answers on the timed examples that equal the replayed ones"
    lines = [f"{title}{', and logits beside those with everything off' if compared else ''}:"]
    for name, (same, total) in benchmark.agreement.items():
        of_what = " (of the float32 model)" if name in ENGINES and not ENGINES[name].exact else ""
        of_what = " (of the same engine)" if ":" in name else of_what
        beside = f"; {comparison_text(compared[name])}" if name in compared and name != ALL_OFF else ""
        other = another_model(benchmark, measured[name], reads) if name in measured else None
        said = f"; **{other}**, so that no quality stands beside its times" if other else beside
        lines.append(f"- {point_label(points.get(name), name)}: {same} of {total}{of_what}{said}")
    return "\n".join(lines)
