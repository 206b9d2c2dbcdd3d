"""The part of a report that is about time and memory: every contender, and who was not measured and why."""

from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.engines import ENGINES
from eat.benchmark.results import Benchmark
from eat.evaluation.context import Evaluation
from eat.evaluation.report.rows import efficiency, point_label
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, ratio_text, render

EFFICIENCY = (
    "FLOPs: executed on these examples / those of our encoder with everything off. Efficiency: speed-up over that "
    "encoder x FLOPs: how much of the saved work became saved time (1.0 is the limit, unless dense attention is slow "
    "per FLOP)."
)
MEMORY = (
    "Each contender alone in a process that answered the same examples. Peak: the most memory while it answered, "
    "libraries and weights included. Over loaded: the part of it beyond what the loaded model held. Libraries: what "
    "the process held before any weights; ONNX Runtime's also holds torch, which it would not need."
)


def benchmark_section(run: Evaluation) -> Section:
    """Lay out the times of this evaluation, or of an earlier one, also of an older version."""
    measured = run.benchmark
    return Section("Benchmark", "Not measured." if measured is None else benchmark_text(run.traces.main, measured))


def benchmark_text(split: str, benchmark: Benchmark) -> str:
    """Lay out a benchmark on examples of a split as Markdown."""
    environment = benchmark.environment
    parts = [
        ", ".join(f"{key} {value}" for key, value in environment.items() if value is not None) + ".",
        _protocol(split, benchmark),
        EFFICIENCY,
        _times(benchmark),
        _absent(benchmark),
        _memory(benchmark),
        _agreement(benchmark),
    ]
    return "\n\n".join(part for part in parts if part)


def _protocol(split: str, benchmark: Benchmark) -> str:
    settings, measurements = benchmark.settings, benchmark.measurements
    counts = {measured.batch_size: measured.examples for measured in measurements}
    examples = ", ".join(f"{count} at batch size {size}" for size, count in counts.items())
    text = (
        f"Examples of {split} in random order ({examples}), {settings['rounds']} interleaved rounds after "
        f"{settings['warmup']} warm-up calls; padding, packing and copying logits back are inside the timed region. "
        "Speed-ups are medians of ratios paired within a round, with bootstrap 95 % intervals."
    )
    tokenising = {m.batch_size: m.tokenising_ms for m in measurements if m.tokenising_ms is not None}
    if tokenising:
        shown = ", ".join(f"{value:.2f} ms at batch size {size}" for size, value in tokenising.items())
        text += f" With tokenising: its time on one thread ({shown}) added to both."
    if benchmark.environment["dtype"] != "float32":
        text += " Quality in all tables is that of float32 weights."
    return text


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
        line.append(ratio_text(measured.speedup[PADDED]))
        line += [ratio_text((measured.speedup_tokenised or {}).get(PADDED))] if tokenised else []
        line.append(ratio_text(measured.speedup[ALL_OFF]))
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


def _agreement(benchmark: Benchmark) -> str:
    points = benchmark.points()
    lines = ["Answers at batch size 1 that equal the replayed ones:"]
    for name, (same, total) in benchmark.agreement.items():
        of_what = " (of the float32 model)" if name in ENGINES and not ENGINES[name].exact else ""
        lines.append(f"- {point_label(points.get(name), name)}: {same} of {total}{of_what}")
    return "\n".join(lines)
