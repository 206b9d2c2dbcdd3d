"""Predict a file: check everything first, then read, answer and write window by window."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from eat.checks import folder_name, number_of_texts
from eat.deployment.prediction.answering import Answering, Guard
from eat.deployment.prediction.destination import Destination, File, Stream
from eat.deployment.prediction.engines import Engine, load_engine, model_folder
from eat.deployment.prediction.journal import Journal, Part
from eat.deployment.prediction.places import held, kept_names, parts_of, read_input, read_output
from eat.deployment.prediction.progress import Progress
from eat.deployment.prediction.reading import Row, Source, open_source
from eat.deployment.prediction.settings import PredictSettings
from eat.deployment.prediction.tally import Answer, Tally
from eat.deployment.prediction.writing import FORMATS
from eat.runs.saved import read_config
from eat.tasks.formats import check_dialect

MOST_CHARACTERS = 32 << 20  # of a window's texts
MESSAGES = 10  # about rows that cannot be read
CLASSES = {"label": pa.string(), "score": pa.float32()}
SETS = {"labels": pa.list_(pa.string()), "score": pa.float32()}
PROBABILITY = "probability_"
NUMBER = {"value": pa.float32()}
EVERY = {"exit_depth": pa.int32(), "retention": pa.float32()}
MakeGuard = Callable[[Any], Guard]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a prediction came to."""

    tally: Tally
    unreadable: list[str]  # about the first rows that cannot be read: where they are, and why
    drifted: bool | None  # whether the guard fired; None without one

    def __str__(self) -> str:
        """Return lines for people."""
        tally = self.tally
        answered = tally.rows - tally.unreadable
        lines = [f"{tally.rows:,} rows"]
        if answered:
            depth, retention = tally.exit_depth / answered, tally.retention / answered
            lines[0] += f", mean exit depth {depth:.2f}, mean retention {retention:.3f}"
        if tally.cut:
            lines.append(f"texts that are longer than the model takes, and were cut: {tally.cut:,}")
        if tally.cached and answered:
            lines.append(f"{tally.cached / answered:.1%} of the answers were remembered")
        if self.drifted is not None:
            alarm = "ALARM, rows behind it are answered at full depth" if self.drifted else "no alarm"
            lines.append(f"drift guard: {alarm}")
        if tally.unreadable:
            lines.append(f"rows that cannot be read, and have no answer: {tally.unreadable:,}")
            lines += [f"  {message}" for message in self.unreadable]
            if tally.unreadable > len(self.unreadable):
                lines.append(f"  and {tally.unreadable - len(self.unreadable):,} more")
        return "\n".join(lines)


def predict_file(
    model: str | Path,
    input: str | Path,
    output: str | Path,
    settings: PredictSettings | None = None,
    *,
    make_guard: MakeGuard | None = None,
) -> Summary:
    """Predict every row of a file, in order; the output is there whole or not at all.

    Rows are read and answered in windows, so that memory is bounded at any size, and each is kept beside the output
    until all are there: the same call after a kill goes on behind the last, and ends with the same file.

    Args:
        model: A run's folder, a saved model's, or one that `export_onnx` wrote.
        input: A CSV, TSV, JSONL, Parquet or plain text file, or "-" for standard input.
        output: A CSV, JSONL or Parquet file, or "-" for standard output.
        settings: Everything else.
        make_guard: Makes a guard of the model where ``settings.guard``, as `eat.monitoring.DriftGuard` does.

    Raises:
        FileNotFoundError: If the model or the input is missing.
        ImportError: If what the engine needs is not installed.
        OSError: If the output cannot be written.
        RuntimeError: If another process writes it.
        ValueError: If an argument, the model or the input is not as it must be, or what was begun is of others.
    """
    settings = settings or PredictSettings()
    if settings.cluster is not None:
        raise ValueError("cluster: expected none for a file; eat.deployment.predict_shards answers a folder of shards")
    model_folder(model)  # there at all: columns of the input go by it
    given = read_input(input, settings.input_format)
    settings = settings.completed({} if given.kind == "text" else trained_on(model))
    target, layout = read_output(output, settings.output_format, given, settings.fresh)
    dialect = check_dialect(settings.delimiter, settings.quotes, [f"input.{given.kind}"], "")
    with ExitStack() as stack:
        if target is not None:
            stack.enter_context(held(target))
        source = stack.enter_context(
            open_source(given, settings.text_columns, settings.keep, dialect, settings.separator or "")
        )
        engine = load_engine(model, settings)
        number_of_texts(engine.num_texts, len(settings.text_columns), "the column of the second text", "a column")
        answering = _answering(engine, settings, make_guard)
        own = _own_columns(engine, settings)
        names = kept_names(settings.keep, {*CLASSES, *NUMBER, *own})
        types = {name: source.kept_types[column] for column, name in names.items() if column in source.kept_types}
        written = FORMATS[layout]([*names.values(), *own], types | own)
        place: Destination
        if target is None:
            place = Stream(sys.stdout.buffer, written)
        else:
            size = "a stream" if given.size is None else f"{given.size} bytes"
            facts = {**settings.deciding(), **engine.facts, "input": size, "output": layout}
            place = File(target, written, Journal(parts_of(target), facts, settings.fresh))
        tally, messages = _predict(source, answering, place, settings, [*own])
        place.finish()
    return Summary(tally, messages, None if answering.guard is None else bool(answering.guard.fired))


def trained_on(model: str | Path) -> Mapping[str, Any]:
    """Return the ``task`` of a run that was trained on a user's file, whose columns it names; nothing of all else."""
    folder = Path(folder_name("model", model))
    run = folder.parent if folder.name == "model" else folder
    task = read_config(run, "model").get("task", {}) if (run / "config.yaml").is_file() else {}
    return task if isinstance(task, Mapping) and task.get("name") == "file" else {}


def _own_columns(engine: Engine, settings: PredictSettings) -> dict[str, pa.DataType]:
    """Return the columns of an answer, in their order, and their types in Parquet."""
    if settings.label_threshold != 0.5 and not engine.multi_label:
        raise ValueError(
            f"label_threshold: expected 0.5 where the model is not a multi-label one, got {settings.label_threshold:g}"
        )
    if len(engine.labels) == 1:
        if settings.probabilities:
            raise ValueError("probabilities: expected false for a regression, whose answer is a number, got true")
        return {**NUMBER, **EVERY}
    each = {f"{PROBABILITY}{name}": pa.float32() for name in engine.labels if settings.probabilities}
    if settings.probabilities and len(each) < len(engine.labels):
        raise ValueError("probabilities: expected false for a model with two classes of one name, got true")
    return {**(SETS if engine.multi_label else CLASSES), **EVERY, **each}


def _answering(engine: Engine, settings: PredictSettings, make_guard: MakeGuard | None) -> Answering:
    options: dict[str, Any] = {name: getattr(settings, name) for name in ("batch_size", "cache", "truncate")}
    options |= {name: getattr(settings, name) for name in ("label_threshold", "probabilities")}
    if settings.guard:
        from eat.deployment.prediction.torch_engine import TorchEngine

        assert isinstance(engine, TorchEngine)  # an export is refused with a guard
        if make_guard is None:
            raise ValueError("make_guard: expected what makes one, such as eat.monitoring.DriftGuard, got none")
        guard = make_guard(engine.model)
        options |= {"guard": guard, "fallback": engine.answered_by(guard)}
    return Answering(engine, **options)


def _predict(
    source: Source, answering: Answering, place: Destination, settings: PredictSettings, own: Sequence[str]
) -> tuple[Tally, list[str]]:
    """Answer window by window, behind those that are written already; say what is wrong with the first odd rows."""
    progress = Progress(source.share_read, settings.progress)
    total, messages, number = Tally(), list[str](), 0
    if place.state:
        answering.load_state(place.state)
    for number, window in enumerate(windows(source.rows, settings.window), start=1):
        digest = _digest(window)
        messages += [f"row {total.rows + i}: {row.why}" for i, row in enumerate(window, 1) if row.why is not None]
        del messages[MESSAGES:]
        if number <= len(place.parts):
            tally = _written(place.parts[number - 1], digest, window[0], settings)
        else:
            if number == len(place.parts) + 1:
                progress.begin(total.rows)
            answers, cached = answering.window(window)
            tally = Tally.of(answers, cached)
            rows = [(*row.kept, *_values(answer, own)) for row, answer in zip(window, answers, strict=True)]
            place.append(rows, Part(digest, tally), answering.state())
        total += tally
        progress.update(total.rows)
    progress.end()
    if number < len(place.parts):
        raise ValueError("input: it has fewer rows than when the output was begun; fresh=true starts anew")
    return total, messages


def _written(part: Part, digest: str, first: Row, settings: PredictSettings) -> Tally:
    """Return the tally of a window that is written already, if its rows and what is asked are still the same."""
    if part.digest != digest:
        raise ValueError(
            f"input: the rows from {first.place} on are not those that were answered before; fresh=true starts anew"
        )
    if part.tally.cut and not settings.truncate:
        raise ValueError(
            f"truncate: {part.tally.cut} texts from {first.place} on were cut when the output was begun; fresh=true "
            "starts anew"
        )
    return part.tally


def windows(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Yield rows in lists of ``size``, fewer at the end or where their texts are so long that memory would fill."""
    window: list[Row] = []
    characters = 0
    for row in rows:
        window.append(row)
        characters += sum(len(text) for text in (*(row.texts or ()), *row.kept) if isinstance(text, str))
        if len(window) == size or characters >= MOST_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def _values(answer: Answer | None, own: Sequence[str]) -> list[Any]:
    """Return what is written of an answer, in our columns' order."""
    if answer is None:
        return [None] * len(own)
    values = dataclasses.asdict(answer) | {"value": answer.score, "labels": answer.label}
    named = [values[name] for name in own if not name.startswith(PROBABILITY)]
    return [*named, *answer.probabilities]


def _digest(window: Sequence[Row]) -> str:
    """Name the rows of a window: what is read of them, and that some cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    for row in window:
        digest.update(repr((row.texts, row.kept)).encode())
    return digest.hexdigest()
