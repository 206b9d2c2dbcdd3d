"""The traces of a run: read where they are, made where weights are newer or nothing is there yet."""

import dataclasses
import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from eat.benchmark.contenders import Encoded, all_off
from eat.data import TextDataModule
from eat.evaluation.findings import ALL_OFF_SUFFIX
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import sharing_copy
from eat.runs.finished import FinishedRun, with_temperatures
from eat.tasks import build_task, describe_rows
from eat.traces.difficulty import cue_depths, logged_pruning
from eat.traces.trace import Trace, read_trace, record_trace, write_trace

log = logging.getLogger(__name__)


def read_traces(run: FinishedRun) -> dict[str, Trace]:
    """Read what a run's model answers, by split; traces of the encoder with everything off end in `ALL_OFF_SUFFIX`.

    Files hold raw logits. They are divided here by the temperatures of the model in the folder, or, without one, by
    those that it had: calibrating a model makes none of its traces obsolete.

    Raises:
        FileNotFoundError: If one that belongs to the set is missing.
        ValueError: If one is damaged or not raw.
    """
    return {name: _as_answered(trace, run) for name, trace in read_raw_traces(run).items()}


def read_raw_traces(run: FinishedRun) -> dict[str, Trace]:
    """Read all traces of a run as they lie there, with raw logits; raises as `read_traces`."""
    traces = {path.stem: read_trace(path) for path in sorted((run.folder / "trace").glob("*.parquet"))}
    expected = next(iter(traces.values())).metadata["traces"] if traces else []
    missing = [name for name in expected if name not in traces]
    if missing:
        raise FileNotFoundError(
            f"trace: {run.folder}/trace lacks {', '.join(f'{name}.parquet' for name in missing)}; "
            "evaluate with fresh=true to make all of them anew, which needs the weights"
        )
    return {name: traces[name] for name in expected}


def _as_answered(trace: Trace, run: FinishedRun) -> Trace:
    config = trace.metadata["config"]
    own = run.model_config() if run.has_weights else config
    temperatures = own["heads"].get("temperatures")
    metadata = trace.metadata | {
        "config": with_heads_temperatures(config, temperatures),
        "fingerprint": with_temperatures(trace.metadata["fingerprint"], temperatures),
    }
    return dataclasses.replace(trace.divided(temperatures), metadata=metadata)


def with_heads_temperatures(config: Mapping[str, Any], temperatures: Sequence[float] | None) -> dict[str, Any]:
    """Return a model's configuration with other temperatures of its heads; None leaves the key out."""
    heads = {key: value for key, value in config["heads"].items() if key != "temperatures"}
    return {**config, "heads": heads if temperatures is None else heads | {"temperatures": list(temperatures)}}


def are_current(run: FinishedRun) -> bool:
    """Return True when every trace is there and was made by the weights in the folder, or there are no weights."""
    try:
        traces = read_traces(run)
    except (FileNotFoundError, ValueError) as error:
        if not run.has_weights:
            raise
        log.info("traces are made anew: %s", error)
        return False
    if not run.has_weights:
        return True
    return bool(traces) and {trace.metadata["fingerprint"] for trace in traces.values()} == {run.fingerprint()}


def record_traces(run: FinishedRun, model: AdaptiveForSequenceClassification, data: TextDataModule) -> None:
    """Make and write the traces, with raw logits, of every split that is not trained on.

    Args:
        run: The run folder.
        model: Its model.
        data: Its data, set up.
    """
    splits = [name for name in data.splits if name != "train"]
    dense = all_off(model)
    differs = (dense.config.attention, dense.config.pruner) != (model.config.attention, model.config.pruner)
    names = [*splits, *(f"{split}{ALL_OFF_SUFFIX}" for split in data.report_splits if differs)]
    facts = {
        "config": _config(model),
        "fingerprint": run.raw_fingerprint(),
        "traces": names,
        "data_fingerprint": data.fingerprint(),
    }
    for name in names:
        split = name.removesuffix(ALL_OFF_SUFFIX)
        log.info("tracing %s: %d examples", name, len(data.splits[split]))
        reported = split in data.report_splits
        rows = describe_rows(data.task, split, len(data.splits[split])) if reported else "held out"
        own = facts | {"split": split, "reported": reported, "data": rows}
        traced = model if name == split else dense
        trace = _record(_uncalibrated(traced), data, split, own | {"config": _config(traced)})
        write_trace(trace, run.folder / "trace" / f"{name}.parquet")
    for path in (run.folder / "trace").glob("*.parquet"):
        if path.stem not in names:
            path.unlink()  # of a configuration that had more of them


def load_data(run: FinishedRun, root: str | Path | None = None) -> TextDataModule:
    """Set up the data that a run was trained on, with its own tokenizer.

    Args:
        run: The run; its weights folder holds the tokenizer.
        root: Folder of local data sets, instead of the one that the run used.

    Raises:
        FileNotFoundError: If the tokenizer or the data are not there.
    """
    if not run.has_weights:
        raise FileNotFoundError(f"run: {run.folder} has no model/, and the tokenizer is kept there")
    known = inspect.signature(TextDataModule).parameters
    arguments = {key: value for key, value in run.config["data"].items() if key in known}
    arguments |= {"max_length": run.config["backbone"]["max_length"], "seed": run.config["seed"]}
    arguments |= {"root": root} if root is not None else {}
    tokenizer = AutoTokenizer.from_pretrained(run.folder / "model")
    data = TextDataModule(build_task(run.config["task"]), tokenizer, **arguments)
    data.setup()
    return data


def encoded_examples(data: TextDataModule, split: str, index: Sequence[int]) -> list[Encoded]:
    """Return the token ids of some examples as lists: what every contender of a benchmark starts from."""
    tokens = data.tokenized[split]
    columns = {"input_ids": tokens.input_ids, "token_type_ids": tokens.token_type_ids}
    return [
        {
            name: ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()
            for name, ids in columns.items()
            if ids is not None
        }
        for i in index
    ]


def _uncalibrated(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Return a copy with the same tensors whose logits are raw."""
    raw = sharing_copy(model)
    raw.set_temperatures(None)
    return raw


def _config(model: AdaptiveForSequenceClassification) -> dict[str, Any]:
    """Return a model's configuration without the folder that it was loaded from, which says nothing about it."""
    return {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}


def _record(
    model: AdaptiveForSequenceClassification, data: TextDataModule, split: str, metadata: Mapping[str, Any]
) -> Trace:
    rows = data.splits[split]
    columns = {}
    cues = _cue_positions(data, split)
    if "difficulty" in rows.column_names:
        columns["difficulty"] = np.asarray(rows["difficulty"][:])
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
        )
    if cues:
        trace.columns["cue_depth"] = cue_depths(dropped, cues)
    return trace


def _cue_positions(data: TextDataModule, split: str) -> list[list[int]]:
    """Find the tokens of the cue in each sentence of the demo; an empty list for other data."""
    rows = data.splits[split]
    if "cue_start" not in rows.column_names:
        return []
    return [
        token_positions(data.tokenizer, text, start, len(cue))
        for text, start, cue in zip(rows["text"], rows["cue_start"], rows["cue"], strict=True)
    ]


def token_positions(tokenizer: PreTrainedTokenizerBase, text: str, start: int, length: int) -> list[int]:
    """Return the positions of the tokens that overlap ``text[start : start + length]``; none where start is below 0."""
    if start < 0:
        return []
    offsets: Sequence[tuple[int, int]] = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    return [i for i, (low, high) in enumerate(offsets) if low < start + length and high > start and high > low]
