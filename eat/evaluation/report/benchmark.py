"""The part of a report that is about time and memory: every contender, and who was not measured and why."""

from collections.abc import Mapping
from typing import Any

from eat.benchmark.contenders import ALL_OFF, ONNX_INT8, PADDED
from eat.evaluation.context import Evaluation
from eat.evaluation.report.console import ratio_text
from eat.evaluation.report.rows import efficiency, point_label
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render
from eat.exits.points import OperatingPoint

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


def benchmark_text(split: str, benchmark: Mapping[str, Any]) -> str:
    """Lay out a benchmark as Markdown.

    Args:
        split: Where the examples are from.
        benchmark: What `benchmark.json` holds.
    """
    environment = benchmark["environment"]
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


def _protocol(split: str, benchmark: Mapping[str, Any]) -> str:
    settings, measurements = benchmark["settings"], benchmark["measurements"]
    counts = {measured["batch_size"]: measured["examples"] for measured in measurements}
    examples = ", ".join(f"{count} at batch size {size}" for size, count in counts.items())
    text = (
        f"Examples of {split} in random order ({examples}), {settings['rounds']} interleaved rounds after "
        f"{settings['warmup']} warm-up calls; padding, packing and copying logits back are inside the timed region. "
        "Speed-ups are medians of ratios paired within a round, with bootstrap 95 % intervals."
    )
    tokenising = {m["batch_size"]: m["tokenising_ms"] for m in measurements if "tokenising_ms" in m}
    if tokenising:
        shown = ", ".join(f"{value:.2f} ms at batch size {size}" for size, value in tokenising.items())
        text += f" With tokenising: its time on one thread ({shown}) added to both."
    if benchmark["environment"]["dtype"] != "float32":
        text += " Quality in all tables is that of float32 weights."
    return text


def _times(benchmark: Mapping[str, Any]) -> str:
    tokenised = any("speedup_tokenised" in measured for measured in benchmark["measurements"])
    headers = [
        "contender",
        "batch",
        "threads",
        "ms p50",
        "p95",
        "p99",
        "examples/s",
        "over Hugging Face, padded [95 %]",
    ]
    headers += ["with tokenising"] if tokenised else []
    headers += ["over everything off [95 %]", "FLOPs", "efficiency"]
    lines = []
    for measured in benchmark["measurements"]:
        line = [
            point_label(_point(measured["exit"]), measured["contender"]),
            measured["batch_size"],
            measured["threads"],
        ]
        line += [*(number(ms, 2) for ms in measured["latency_ms"]), number(measured["examples_per_s"], 0)]
        line.append(ratio_text(measured["speedup"][PADDED]))
        line += [ratio_text(measured.get("speedup_tokenised", {}).get(PADDED))] if tokenised else []
        line.append(ratio_text(measured["speedup"][ALL_OFF]))
        line += [number(measured["flops_ratio"]), number(efficiency(measured), 2)]
        lines.append([str(cell) for cell in line])
    return render(headers, lines, markdown=True)


def _absent(benchmark: Mapping[str, Any]) -> str:
    lines = [f"- {point_label(None, name)}: {reason}" for name, reason in benchmark.get("not_measured", {}).items()]
    return "\n".join(["Not measured:", "", *lines]) if lines else ""


def _memory(benchmark: Mapping[str, Any]) -> str:
    memory = benchmark.get("memory")
    if not memory:
        return ""
    exits = {measured["contender"]: measured["exit"] for measured in benchmark["measurements"]}
    title = f"Memory at batch size {memory['batch_size']}, {memory['threads']} threads, {memory['examples']} examples"
    headers = [title, "peak MiB", "over loaded", "libraries"]
    lines = [
        [
            point_label(_point(exits.get(name)), name),
            *(number(peak[key], 1) for key in ("peak_mib", "over_loaded_mib", "libraries_mib")),
        ]
        for name, peak in memory["peaks"].items()
    ]
    return f"{MEMORY}\n\n{render(headers, lines, markdown=True)}"


def _agreement(benchmark: Mapping[str, Any]) -> str:
    exits = {measured["contender"]: measured["exit"] for measured in benchmark["measurements"]}
    lines = ["Answers at batch size 1 that equal the replayed ones:"]
    for name, (same, total) in benchmark["agreement"].items():
        of_what = " (of the float32 model)" if name == ONNX_INT8 else ""
        lines.append(f"- {point_label(_point(exits.get(name)), name)}: {same} of {total}{of_what}")
    return "\n".join(lines)


def _point(spec: Mapping[str, Any] | None) -> OperatingPoint | None:
    return None if spec is None else OperatingPoint.of(spec)
