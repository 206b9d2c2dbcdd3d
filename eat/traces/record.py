"""Record traces: one pass of a model over a split, every head run and no sequence leaving."""

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from eat.data import TextDataModule
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import OWN, EngineId
from eat.models.sharing import all_off, sharing_copy
from eat.models.tracer import Tracer, model_tracer
from eat.runs.finished import FinishedRun
from eat.tasks import TaskFacts, describe_rows
from eat.traces.difficulty import cue_depths, cue_positions, logged_pruning
from eat.traces.predictions import LINE
from eat.traces.run_traces import ALL_OFF_SUFFIX, trace_folder, trace_path
from eat.traces.storage import write_trace
from eat.traces.trace import RecordedTask, Trace

log = logging.getLogger(__name__)


def record_traces(
    run: FinishedRun,
    model: AdaptiveForSequenceClassification,
    data: TextDataModule,
    engine: EngineId = OWN,
    tracer: Callable[[AdaptiveForSequenceClassification, str], Tracer] | None = None,
    noted: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Make and write the traces, with raw logits, of every split that is not trained on.

    ``tracer`` builds what answers in place of a model, whose traces have a name, where that is another ``engine``, and
    ``noted`` is what their metadata say of it besides.
    """
    splits = [name for name in data.splits if name != "train"]
    dense = all_off(model)
    differs = (dense.config.attention, dense.config.pruner) != (model.config.attention, model.config.pruner)
    names = [*splits, *(f"{split}{ALL_OFF_SUFFIX}" for split in data.report_splits if differs)]
    facts = {"fingerprint": run.raw_fingerprint(engine), "traces": names, "data_fingerprint": data.fingerprint()}
    facts |= engine.facts | dict(noted)
    for name in names:
        split = name.removesuffix(ALL_OFF_SUFFIX)
        using = "" if engine.is_eat else f" with {engine.label}"
        log.info("tracing %s%s: %d examples", name, using, len(data.splits[split]))
        reported = split in data.report_splits
        rows = describe_rows(data.task, split, len(data.splits[split])) if reported else "held out"
        traced = sharing_copy(model if name == split else dense)
        own = {"config": _config(traced), **facts, "split": split, "reported": reported, "data": rows}
        traced.set_temperatures(None)
        answer = None if tracer is None else tracer(traced, name)
        write_trace(_record(traced, data, split, own, answer), trace_path(run, name, engine))
    for path in trace_folder(run, engine).glob("*.parquet"):
        if path.stem not in names:
            path.unlink()  # of a configuration that had more of them


def record_trace(
    model: AdaptiveForSequenceClassification,
    batches: Iterable[Mapping[str, Any]],
    task: TaskFacts,
    *,
    metadata: Mapping[str, Any] | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    after_batch: Callable[[Mapping[str, Any]], None] | None = None,
    tracer: Tracer | None = None,
) -> Trace:
    """Run every example to full depth and keep what each head says; the model is left in the mode it came in.

    Batches are packed, with ``labels`` and ``example`` (index in the split); ``after_batch`` is called with each once
    the model has answered it. ``columns`` are further facts per example, in the split's order. ``tracer`` answers in
    the model's place: another engine with the same weights.

    Raises:
        ValueError: If there is no example, an example is missing or comes twice, or logits are not finite.
    """
    was_training, answer = model.training, tracer or model_tracer(model)
    model.eval()
    parts: dict[str, list[np.ndarray]] = {"example": [], "labels": [], "all_logits": [], "tokens_kept": []}
    try:
        with torch.inference_mode():
            for batch in batches:
                logits, kept = answer(batch)
                parts["example"].append(batch["example"].numpy())
                labels = batch["labels"].numpy()
                parts["labels"].append(labels.astype(np.int8) if task.kind == "multi_label" else labels)
                parts["all_logits"].append(logits)
                parts["tokens_kept"].append(kept)
                if after_batch is not None:
                    after_batch(batch)
    finally:
        model.train(was_training)
    if not parts["example"]:
        raise ValueError("batches must hold at least one example, got none")
    whole = {key: np.concatenate(values) for key, values in parts.items()}
    order = np.argsort(whole["example"], kind="stable")
    if not np.array_equal(whole["example"][order], np.arange(len(order))):
        raise ValueError(f"batches must hold every example 0..{len(order) - 1} of the split once")
    return Trace(
        labels=whole["labels"][order],
        all_logits=whole["all_logits"][order],
        tokens_kept=whole["tokens_kept"][order],
        head_depths=tuple(model.head_depths),
        task=RecordedTask.of(task),
        metadata=dict(metadata or {}),
        columns=dict(columns or {}),
        temperatures=None if set(model.temperatures) == {1.0} else model.temperatures,
    )


def _config(model: AdaptiveForSequenceClassification) -> dict[str, Any]:
    """Return a model's configuration without the folder that it was loaded from, which says nothing about it."""
    return {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}


def _record(
    model: AdaptiveForSequenceClassification,
    data: TextDataModule,
    split: str,
    metadata: Mapping[str, Any],
    tracer: Tracer | None,
) -> Trace:
    rows = data.splits[split]
    columns = {name: np.asarray(rows[name][:]) for name in ("difficulty", LINE) if name in rows.column_names}
    cues = cue_positions(data, split) if tracer is None else []  # which tokens leave is logged in torch alone
    dropped: list[tuple[int, int, int]] = []
    with logged_pruning(model) as pruning:

        def keep_log(batch: Mapping[str, Any]) -> None:
            dropped.extend((int(batch["example"][i]), position, depth) for i, position, depth in pruning.dropped)
            pruning.dropped.clear()

        trace = record_trace(
            model,
            data.loader(split),
            data.task,
            metadata=metadata,
            columns=columns,
            after_batch=keep_log if cues else None,
            tracer=tracer,
        )
    if cues:
        trace.columns["cue_depth"] = cue_depths(dropped, cues)
    return trace
