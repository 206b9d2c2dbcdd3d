"""How fast, side by side in one process, on real inputs: latency at batch 1, throughput at larger batches, memory."""

import dataclasses
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from eat import kernels
from eat.benchmark.agreement import compare_with_all_off, rounding_of, warn_of_others
from eat.benchmark.clock import clock_of, num_threads
from eat.benchmark.contenders import BASELINES, PADDED, Contender, EnginePoint, build_contenders
from eat.benchmark.engines import ENGINES, Encoded, Source, cannot_run, not_measured
from eat.benchmark.memory import measure_peak
from eat.benchmark.protocol import ENOUGH_BATCHES, Budget, batches_of, measure
from eat.benchmark.results import Benchmark, Comparison, Measurement, PeakMemory
from eat.benchmark.tokenizing import Texts
from eat.checks import (
    MOST_THREADS,
    folder_name,
    number,
    one_of,
    several,
    shown,
    true_or_false,
    whole_number,
    whole_numbers,
)
from eat.exits.points import OperatingPoint
from eat.machine import describe_host, gpu_clocks
from eat.models.classifier import AdaptiveForSequenceClassification

log = logging.getLogger(__name__)

MIN_EXAMPLES = 32
FEWEST_BATCHES = 2
"""Full batches without which a batch size is not measured: one says nothing of other texts."""
DTYPES = ("float32", "bfloat16", "float16")
TOKENIZER = "tokenizer"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """How much is measured."""

    examples: int = 256  # at most so many examples of the reported split, drawn at random
    seconds: int | float = 30  # about so long for one batch size, warm-up included; slow models get fewer rounds (3 at
    # least), then fewer examples (32 at least, and 8 batches)
    rounds: int = 5  # how often all contenders answer all of them
    warmup: int = 10  # untimed calls of each contender at each batch size before
    batch_sizes: Sequence[int] = (1, 32)  # 1 is the gateway, 32 the queue
    threads: Sequence[int] = ()  # threads inside operators, one measurement each; empty for as many as torch uses now
    thresholds: Sequence[float] | None = None  # of the exit; null for its paper's, else those that lose 0 to 2 points
    dtype: str = "float32"  # of the weights, ours and Hugging Face's alike; float16 on a GPU only
    shortcut_runs: Sequence[str] = ()  # folders of runs trained with ``backbone.num_layers``: the static shortcuts
    onnx: bool = True  # whether engines that need an export take part, as ONNX Runtime, OpenVINO and CTranslate2 do; it
    # takes some seconds, static int8 some more
    memory: bool = True  # whether each contender's peak memory is measured, in a process of its own
    seed: int = 0  # of the draw

    def __post_init__(self) -> None:
        """Refuse a value of another type or out of range."""
        for name, least in (("examples", 1), ("rounds", 1), ("warmup", 0), ("seed", 0)):
            whole_number(f"benchmark.{name}", getattr(self, name), least)
        number("benchmark.seconds", self.seconds, above=0)
        whole_numbers("benchmark.batch_sizes", self.batch_sizes)
        whole_numbers("benchmark.threads", self.threads, at_most=MOST_THREADS)
        for value in () if self.thresholds is None else several("benchmark.thresholds", self.thresholds, "[0.8,0.9]"):
            number("benchmark.thresholds", value, at_least=0)
        one_of("benchmark.dtype", self.dtype, DTYPES)
        for run in several("benchmark.shortcut_runs", self.shortcut_runs, "[runs/sst2/a]"):
            folder_name("benchmark.shortcut_runs", run)
        for name in ("onnx", "memory"):
            true_or_false(f"benchmark.{name}", getattr(self, name))

    def to_json(self) -> dict[str, Any]:
        """Return the values, as JSON has them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def draw_examples(total: int, settings: BenchmarkSettings) -> Int[np.ndarray, " drawn"]:
    """Draw the examples to measure with, in random order, without repetition."""
    order = np.random.default_rng(settings.seed).permutation(total)
    return order[: settings.examples]


def run_benchmark(
    model: AdaptiveForSequenceClassification,
    examples: Sequence[Encoded],
    exits: Sequence[OperatingPoint],
    settings: BenchmarkSettings,
    *,
    shortcuts: Mapping[str, AdaptiveForSequenceClassification] = MappingProxyType({}),
    texts: Texts | None = None,
    calibration: Sequence[Encoded] = (),
    whole: Sequence[Encoded] = (),
    points: Sequence[EnginePoint] = (),
) -> Benchmark:
    """Measure every contender; ``answers`` are to be checked against the replayed ones.

    The model is in float32, on the device to measure on; examples stand in random order. With their ``texts`` a second
    line of speed-ups has tokenisation in both times. Static int8 is calibrated on training rows; engines that do not
    compute the model's own function answer the ``whole`` split as well, since their quality is known from that alone.
    ``points`` are operating points of other engines than eat's own.

    Raises:
        ValueError: If two batches of examples are not there, or the type of the weights does not suit the device.
    """
    settings = dataclasses.replace(settings, batch_sizes=measurable(settings.batch_sizes, len(examples)))
    device = next(model.parameters()).device
    if settings.dtype == "float16" and device.type == "cpu":
        raise ValueError("benchmark.dtype: float16 is for GPUs; use benchmark.dtype=float32 on a CPU")
    token_types = "token_type_ids" in examples[0]
    source = Source(model, getattr(torch, settings.dtype), token_types=token_types, calibration=calibration)
    environment = describe_machine(source.model)  # first of all: the load is the others', not ours
    absent = not_measured(device, exported=settings.onnx)
    absent |= cannot_run(source, absent)
    thread_counts = settings.threads or (torch.get_num_threads(),)
    with tempfile.TemporaryDirectory(prefix="eat-benchmark-") as folder:
        contenders = build_contenders(
            source,
            exits,
            shortcuts=shortcuts,
            folder=Path(folder),
            absent=absent,
            memory=settings.memory,
            points=points,
        )
        _announce(contenders, len(examples), settings, len(thread_counts))
        measurements: list[Measurement] = []
        answers: dict[str, Float[np.ndarray, "examples classes"]] = {}
        compared: dict[str, Comparison] = {}
        rounding = rounding_of(environment)
        for threads in thread_counts:
            with num_threads(threads):
                for batch_size in settings.batch_sizes:
                    times, logits = measure_times(contenders, examples, texts, batch_size, settings, device)
                    measurements += times
                    answers |= {name: rows for name, rows in logits.items() if len(rows) > len(answers.get(name, ()))}
                    for name, found in compare_with_all_off(logits, rounding, model.config.multi_label).items():
                        compared[name] = max(compared.get(name, found), found, key=_doubt)
        with num_threads(thread_counts[0]):
            on_whole = answer_whole(contenders, whole, max(settings.batch_sizes))
        memory = measure_memory(contenders, examples, thread_counts[0], settings) if settings.memory else None
    warn_of_others(compared)
    return Benchmark(
        environment,
        settings.to_json(),
        tuple(measurements),
        memory,
        absent,
        beside_all_off={c.name: compared[c.name] for c in contenders if c.name in compared},
        answers={c.name: answers[c.name].tolist() for c in contenders if c.name in answers},
        on_whole=on_whole,
    )


def measurable(batch_sizes: Sequence[int], examples: int) -> tuple[int, ...]:
    """Return the batch sizes that the examples fill often enough to say anything of others; warn of the rest.

    Raises:
        ValueError: If there is none.
    """
    filled = tuple(size for size in batch_sizes if examples // size >= FEWEST_BATCHES)
    few = [str(size) for size in batch_sizes if size not in filled]
    text = f"{examples} texts, of which {FEWEST_BATCHES} full batches or more are needed"
    if not filled:
        raise ValueError(f"benchmark.batch_sizes: expected smaller ones for {text}, got {shown(list(batch_sizes))}")
    if few:
        log.warning("benchmark: batches of %s are not measured on %s", " and ".join(few), text)
    return filled


def answer_whole(
    contenders: Sequence[Contender], whole: Sequence[Encoded], batch_size: int
) -> dict[str, Float[np.ndarray, "examples classes"]]:
    """Answer a whole split, untimed and in its order, with each engine that does not compute the model's own function.

    Operating points of such engines have traces instead. Where activations share a scale an answer depends on its
    batch: batches are as large as the largest timed.
    """
    answers = {}
    for contender in contenders if whole else ():
        if contender.exit is None and not ENGINES[contender.engine].exact:
            log.info("benchmark: %s answers all %d examples for its quality", contender.name, len(whole))
            with torch.inference_mode():
                answers[contender.name] = np.concatenate([contender.call(b) for b in batches_of(whole, batch_size)])
    return answers


def _announce(contenders: Sequence[Contender], examples: int, settings: BenchmarkSettings, thread_counts: int) -> None:
    """Say what is about to be measured; the timing protocol says the same of each batch size once it knows how fast."""
    sizes, times = list(settings.batch_sizes), thread_counts * len(settings.batch_sizes)
    text = f"benchmark: {len(contenders)} contenders on up to {examples} texts at batch sizes {sizes}, about "
    text += f"{settings.seconds:g} s each: {times * settings.seconds:.0f} s"
    if settings.memory:
        text += f"; then peak memory in {len(with_memory(contenders))} processes of some seconds each"
    log.info("%s", text)


def _doubt(found: Comparison) -> tuple[bool, int, float]:
    """Order comparisons at several batch sizes: the worst counts."""
    return not found.same, found.differ - found.near_ties, found.difference


def measure_times(
    contenders: Sequence[Contender],
    examples: Sequence[Encoded],
    texts: Texts | None,
    batch_size: int,
    settings: BenchmarkSettings,
    device: torch.device,
) -> tuple[list[Measurement], dict[str, Float[np.ndarray, "examples classes"]]]:
    """Time all contenders at one batch size, with as many threads as torch has now; return their logits as well.

    Grouping by length changes nothing at batch size 1 and is left out there. Tokenising the same texts takes its turns
    as if it were a contender.
    """
    running = {c.name: c for c in contenders if batch_size > 1 or not c.grouped}
    tokenizer = {} if texts is None else {TOKENIZER: texts.call}
    least = max(ENOUGH_BATCHES, math.ceil(MIN_EXAMPLES / batch_size))
    timed = measure(
        {name: c.call for name, c in running.items()} | tokenizer,
        examples,
        batch_size,
        Budget(seconds=settings.seconds, rounds=settings.rounds, warmup=settings.warmup, min_batches=least),
        clock=clock_of(device),
        grouped={name for name, c in running.items() if c.grouped},
        inputs={} if texts is None else {TOKENIZER: texts.rows},
    )
    tokenising = timed.seconds.get(TOKENIZER)
    over = {baseline: timed.over(baseline) for baseline in BASELINES}
    again = {} if tokenising is None else {baseline: timed.over(baseline, tokenising) for baseline in BASELINES}
    measurements = [
        Measurement(
            contender=name,
            engine=contender.engine,
            exit=contender.exit,
            examples=timed.examples,
            latency_ms=over[PADDED][name].latency_ms,
            examples_per_s=over[PADDED][name].examples_per_s,
            speedup={baseline: timings[name].speedup for baseline, timings in over.items()},
            tokenising_ms=None if tokenising is None else float(np.median(tokenising) * 1e3),
            speedup_tokenised={baseline: timings[name].speedup for baseline, timings in again.items()} or None,
            batch_size=batch_size,
            threads=torch.get_num_threads(),
            rounds=timed.rounds,
            warmup=timed.warmup,
        )
        for name, contender in running.items()
    ]
    return measurements, {name: timed.logits(name) for name in running}


def measure_memory(
    contenders: Sequence[Contender], examples: Sequence[Encoded], threads: int, settings: BenchmarkSettings
) -> PeakMemory:
    """Measure peak memory over the batches that take most of it, in a process for each contender.

    These are the batch with most tokens and the one that is largest when padded, at the largest batch size.
    """
    batch_size = max(settings.batch_sizes)
    batches = batches_of(examples, batch_size)
    lengths = [[len(example["input_ids"]) for example in batch] for batch in batches]
    heaviest = {max(range(len(batches)), key=lambda i: size(lengths[i])) for size in (sum, lambda n: max(n) * len(n))}
    batches = [batches[index] for index in sorted(heaviest)]
    peaks = {}
    for contender in with_memory(contenders):
        if contender.saved is not None:
            log.info("benchmark: peak memory of %s", contender.name)
            peaks[contender.name] = measure_peak(contender.name, contender.saved, batches, threads=threads)
    return PeakMemory(batch_size, sum(map(len, batches)), threads, peaks)


def with_memory(contenders: Sequence[Contender]) -> list[Contender]:
    """List the contenders whose memory is measured: not those that hold what another one does.

    Grouping by length changes the order of texts only, and of our operating points the first stands for all: full
    depth, where as much is alive as at any other. For those of another engine that engine with everything off does.
    """
    points = [contender for contender in contenders if contender.exit is not None]
    return [c for c in contenders if c.saved is not None and not c.grouped and (c.exit is None or c is points[0])]


def describe_machine(model: AdaptiveForSequenceClassification) -> dict[str, Any]:
    """Name what the times depend on: device, precision, versions, and the machine with its load before the start."""
    parameter = next(model.parameters())
    on_gpu = parameter.device.type == "cuda"
    facts = {
        "device": torch.cuda.get_device_name(parameter.device) if on_gpu else "cpu",
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "torch": torch.__version__,
    }
    return facts | describe_conditions(parameter.device, "gpu")


def describe_conditions(device: torch.device, clocks: str) -> dict[str, Any]:
    """Return the host with its load, other engines' versions, and on a GPU its state, with its clocks under a key."""
    facts: dict[str, Any] = describe_host()
    installed = [name for name in ("onnxruntime", "openvino", "nncf", "ctranslate2") if find_spec(name) is not None]
    facts |= {name: metadata.version(name) for name in installed}
    if device.type == "cpu":
        facts["kernels"] = kernels.text()
    if device.type == "cuda":
        facts |= {"tf32": torch.backends.cuda.matmul.allow_tf32, "cuda": torch.version.cuda, clocks: gpu_clocks()}
    return facts
