"""Kinds ``stored`` and ``folders``: files that eat wrote itself, damaged or edited, are refused in one line or read.

An input is one file. It is a committed or freshly written one, changed in its values (a key gone, another type, a
number out of range) or in its bytes.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from eat.backbones.tiny import tiny_config
from eat.benchmark.results import read_benchmark
from eat.data.tokenizer import load_tokenizer
from eat.deployment import OnnxClassifier, manifest
from eat.deployment.export import export_onnx
from eat.deployment.prediction.journal import Journal, Part
from eat.deployment.prediction.settings import PredictSettings
from eat.deployment.prediction.shards import predict_shards
from eat.deployment.prediction.tally import Tally
from eat.deployment.prediction.writing import FORMATS
from eat.evaluation.calibration import read_temperatures
from eat.evaluation.certify.kept import Attempt
from eat.evaluation.report.plan import read_latency
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import EngineId
from eat.models.rules import SufficientRule
from eat.runs.engines import read_state, state_path
from eat.runs.finished import FinishedRun
from eat.runs.folder import continued_config
from eat.runs.outcome import Compressed, Outcome, read_outcome
from eat.traces.replay import replay
from eat.traces.run_traces import read_own
from eat.traces.storage import write_trace
from eat.training.compression import build_compression
from eat.training.loggers import MetricsCsv
from tests.made.runs import write_run
from tests.made.traces import make_trace
from tests.reliability.campaign import ROOT, Case
from tests.reliability.refusals import REFUSED, attempt
from tests.reliability.tables import FOLDER, damaged
from tests.reliability.values import PLAIN

POINT = OperatingPoint.of({"name": "confidence", "threshold": 0.7})
MORE = (1e400, -1, 0, 2**63, 10**40, "x" * 5000, {"_target_": "os.getcwd"}, "${oc.env:HOME}", "${x}", "a\nb", [[[]]])


@functools.cache
def committed(name: str) -> tuple[dict[str, Any], ...]:
    """Return the committed results' files of a name."""
    found = sorted(ROOT.glob(f"results/**/{name}"))
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in found[:6])


@functools.cache
def made_run(kind: str = "plain") -> Path:
    """Return a finished run's folder, made once; ``kind`` is a key of `KINDS_OF_RUNS`."""
    options, change = KINDS_OF_RUNS[kind]
    run = write_run(Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)) / "run", **options)
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model")
    change(model)
    model.save_pretrained(run / "model")
    return run


def _with_rules(model: AdaptiveForSequenceClassification) -> None:
    weight = tuple(0.1 * number for number in range(model.backbone.dim))
    model.set_rules([SufficientRule(0, "embeddings", "mean", label, weight, 0.5, 0.01, 0.02) for label in (0, 1)])


def _with_compression(model: AdaptiveForSequenceClassification, **spec: Any) -> None:
    compression = build_compression(spec)
    compression.attach(model)
    compression.finish(model)


STRUCTURED = {"name": "structured", "start": 0, "end": 0, "heads": 0.5, "neurons": 0.5, "multiple": 4, "score_lr": 0}
KINDS_OF_RUNS: dict[str, tuple[dict[str, Any], Callable[[AdaptiveForSequenceClassification], Any]]] = {
    "plain": ({}, lambda model: None),
    "temperatures": ({}, lambda model: model.set_temperatures([1.5] * len(model.head_depths))),
    "multi-label": ({"multi_label": True}, lambda model: None),
    "rules": ({}, _with_rules),
    "binary": ({}, lambda model: _with_compression(model, name="binarized", embeddings=True)),
    "narrowed": ({}, lambda model: _with_compression(model, **STRUCTURED)),
}
"""Kind of run -> options of `write_run`, and what is then done to its model."""


@functools.cache
def made_export() -> Path:
    """Return an exported model's folder, made once."""
    run = made_run("temperatures")
    return export_onnx(run / "model", run / "model", run.parent / "export")


@functools.cache
def made_trace() -> bytes:
    """Return a trace's file."""
    path = FOLDER / "made.parquet"
    made = make_trace(40, "validation", 0)
    model = AdaptiveForSequenceClassification.from_backbone(tiny_config(num_layers=3), exit=POINT.spec, seed=0)
    made.metadata.update(config=model.config.to_dict(), data="complete", fingerprint="x", traces=["validation"])
    write_trace(made, path)
    return path.read_bytes()


def edited(draw: random.Random, values: Any) -> Any:
    """Change one or two values of a tree: another type or size, a key gone, renamed or added."""
    values = copy.deepcopy(values)
    for _ in range(draw.randint(1, 2)):
        node = values
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and draw.random() < 0.75:
                node = node[key]
                continue
            _edit(draw, node, key)
            break
    return values


def _edit(draw: random.Random, node: Any, key: Any) -> None:
    how = draw.randrange(5)
    if how == 0:
        del node[key]
    elif how == 1 and isinstance(node, dict):
        node[f"{key}_"] = node.pop(key)
    elif how == 2 and isinstance(node, dict):
        node[draw.choice(["", "extra", "name", "_target_", "0"])] = copy.deepcopy(draw.choice(PLAIN))
    else:
        node[key] = copy.deepcopy(draw.choice(PLAIN + MORE))


def text_of(draw: random.Random, values: Any, *, as_yaml: bool = False) -> bytes:
    """Write values, edited or damaged."""
    if draw.random() < 0.7:
        changed = edited(draw, values)
        return (yaml.safe_dump(changed, allow_unicode=True) if as_yaml else json.dumps(changed)).encode()
    return damaged(draw, (yaml.safe_dump(values) if as_yaml else json.dumps(values)).encode())


def check_stored(case: Case) -> None:
    """Change one stored result and read it."""
    draw = case.random
    kind = draw.choice(list(STORED))
    path, read = STORED[kind](draw, FOLDER)
    case.count(inputs=1, **{kind.partition(".")[0]: 1})
    attempt(case, read, [path.name, path.parent.name, "fresh=true"], kind)


def _benchmark(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    values = draw.choice(committed("benchmark.json"))
    path = folder / "benchmark.json"
    path.write_bytes(text_of(draw, values))
    return path, lambda: _used(read_benchmark(folder, values["fingerprint"]))


def _used(benchmark: Any) -> None:
    if benchmark is not None:
        benchmark.points()
        json.dumps(benchmark.to_json())


def _plan(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    values = draw.choice(committed("plan.json") or ({"fingerprint": "x"},))
    path = folder / "plan.json"
    path.write_bytes(text_of(draw, values))
    trace = make_trace(10, "validation", 0)
    trace.metadata["fingerprint"] = values["fingerprint"]
    return path, lambda: read_latency(folder, trace)


def _calibration(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = folder / "calibration.json"
    path.write_bytes(text_of(draw, draw.choice(committed("calibration.json"))))
    return path, lambda: read_temperatures(folder, make_trace(10, "validation", 0))


def _trace(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = folder / "validation.parquet"
    path.write_bytes(_edited_trace(draw) if draw.random() < 0.8 else damaged(draw, made_trace()))
    return path, lambda: _replayed(path)


def _replayed(path: Path) -> None:
    trace = read_own(path)  # as whoever reads a run's traces does
    answers = replay(trace, POINT)
    float(np.mean(answers.logits.argmax(1) == trace.labels)), answers.flops(trace.costs), trace.split


def _edited_trace(draw: random.Random) -> bytes:
    """Edit a trace's columns or what its metadata say."""
    table = pq.read_table(pa.BufferReader(made_trace()))
    metadata = json.loads(table.schema.metadata[b"eat"])
    name = draw.choice(table.column_names)
    place = table.column_names.index(name)
    how = draw.randrange(7)
    if how == 0:
        table = table.drop_columns([name])
    elif how == 1:
        table = table.set_column(place, name, pa.array(draw.choices([None, 1, 7, -3], k=len(table))))
    elif how == 2:
        table = table.set_column(place, name, pa.array([[1.0, float("nan")]] * len(table)))
    elif how == 3:
        table = table.set_column(place, name, pa.array(["x"] * len(table)))
    elif how == 4:
        table = table.append_column(name, table[name])
    elif how == 5:
        table = table.slice(0, draw.choice([0, 1, 5]))
    else:
        metadata = edited(draw, metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({b"eat": json.dumps(metadata).encode()}), sink)
    return sink.getvalue().to_pybytes()


def _metrics(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = folder / "metrics.csv"
    path.write_bytes(damaged(draw, b"step,train/loss,val/accuracy\n1,0.5,\n2,0.4,0.75\n3,0.3,\n"))
    return path, lambda: MetricsCsv(folder).resume(2)


def _certificate(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = folder / "certificate.json"
    path.write_bytes(text_of(draw, draw.choice(committed("certificate.json"))))
    return path, lambda: Attempt.read(path)


def _engine(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = state_path(folder, EngineId("eat_onnx"))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text_of(draw, {"fingerprint": "x", "temperatures": [1.0, 1.5], "certificate": {"exit": {}}}))
    return path, lambda: read_state(folder, EngineId("eat_onnx"))


def _outcome(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    compressed = Compressed("magnitude", 1000, 1000, 500)
    path = folder / "training.json"
    outcome = Outcome(40, 2, "accuracy", 20, 0.9, "no better", {"no": 0.5, "yes": 1.5}, compressed)
    path.write_bytes(text_of(draw, dataclasses.asdict(outcome)))
    return path, lambda: read_outcome(folder)


def _export(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = _copied(made_export(), folder / "export") / manifest.FILE
    values = json.loads(path.read_text())
    path.unlink()
    path.write_bytes(text_of(draw, values))
    return path, lambda: OnnxClassifier.from_folder(path.parent).predict(["a good film", "bad soup"])


def _journal(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    shutil.rmtree(folder / "parts", ignore_errors=True)
    header = {"text": "text", "model": "x", "batch_size": 32}
    journal, layout = Journal(folder / "parts", header, True), FORMATS["jsonl"](["label"], {})
    for number in range(3):
        journal.append([(f"row {number}",)], layout, Part(f"digest {number}", Tally(1)), {"cache": [1]})
    path = folder / "parts" / draw.choice(["journal.jsonl", "journal.jsonl", "state-000002.json"])
    lines = path.read_bytes().splitlines()
    place = draw.randrange(len(lines))
    lines[place] = text_of(draw, json.loads(lines[place]))
    path.write_bytes(b"\n".join([*lines, b""]))
    return path, lambda: Journal(folder / "parts", header, False)


def _shards(draw: random.Random, folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = _copied(made_shards(), folder / "answers") / "shards.json"
    values = json.loads(path.read_text())
    path.unlink()
    path.write_bytes(text_of(draw, values))
    return path, lambda: _answered(path.parent)


@functools.cache
def made_shards() -> Path:
    """Return a folder of answered shards, made once."""
    shards, answers = made_export().parent / "shards", made_export().parent / "answers"
    shards.mkdir()
    for name in ("a", "b"):
        (shards / f"{name}.csv").write_text("text\na good film\nbad soup\n")
    _answered(answers)
    return answers


def _answered(folder: Path) -> None:
    """Answer the shards that are not yet, in this process."""
    model = made_export()
    here = lambda answer, shards: [(shard, answer(shard)) for shard in shards]  # noqa: E731
    predict_shards(model, model.parent / "shards", folder, PredictSettings(), here)


STORED: dict[str, Callable[[random.Random, Path], tuple[Path, Callable[[], Any]]]] = {
    "benchmark.json": _benchmark,
    "plan.json": _plan,
    "calibration.json": _calibration,
    "trace": _trace,
    "metrics.csv": _metrics,
    "certificate.json": _certificate,
    "engine.json": _engine,
    "training.json": _outcome,
    "export": _export,
    "journal": _journal,
    "shards": _shards,
}


def check_folder(case: Case) -> None:
    """Change one file of a run folder, and open the run, its model or its configuration."""
    draw = case.random
    of_run, kind = draw.choice(list(KINDS_OF_RUNS)), draw.choice(FILES)
    folder = _copied(made_run(of_run), FOLDER / "changed")
    path = folder / kind
    original = path.read_bytes()
    path.unlink()
    if kind.endswith("safetensors"):
        path.write_bytes(damaged(draw, original))
    elif draw.random() < 0.95:
        path.write_bytes(text_of(draw, yaml.safe_load(original), as_yaml=kind.endswith("yaml")))
    case.count(inputs=1, **{of_run: 1})
    run = attempt(case, lambda: FinishedRun(folder), ["run:", "config.yaml", path.name], f"run with {kind}")
    if run is REFUSED:
        return
    names = [path.name, str(folder), "config.", "backbone", "pruner", "exit", "attention", "head", "temperatures"]
    names += ["problem_type", "rules"]
    for read in _use(kind, run, folder):
        attempt(case, read, names, f"reading {kind}")


FILES = ("config.yaml", "config.yaml", "environment.json", "model/tokenizer.json", "model/model.safetensors")
FILES += ("model/config.json",) * 3


def _use(kind: str, run: FinishedRun, folder: Path) -> list[Callable[[], Any]]:
    if kind == "config.yaml":
        config = {"resume": str(folder), "paths": {}, "fresh": False, "evaluation": {}, "exit": {}, "logger": {}}
        return [lambda: run.exit, lambda: continued_config(config, [])]
    if kind == "environment.json":
        return [run.environment]
    if kind == "model/tokenizer.json":
        return [lambda: load_tokenizer("retrofit", str(folder / "model"), "save it there")]
    return [run.raw_fingerprint, run.fingerprint, lambda: _answer(folder)]


def _answer(folder: Path) -> None:
    model = AdaptiveForSequenceClassification.from_pretrained(folder / "model")
    model(torch.tensor([[2, 7, 8, 3]]))


def _copied(source: Path, folder: Path) -> Path:
    """Return a folder with links to all files of another one, in the place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, copy_function=_link)
    return folder


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
