"""Export a finished run for serving."""

import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from eat.benchmark.engines.engine import CALIBRATION_ROWS
from eat.benchmark.tokenizing import encoded_examples, training_rows
from eat.checks import folder_name, one_line, true_or_false, whole_number
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.data import TextDataModule
from eat.deployment.export import ExportSettings, export_onnx
from eat.deployment.manifest import FILE as MANIFEST
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.runs.data import PLACES, load_data
from eat.runs.finished import FinishedRun, runs_beside
from eat.testing.exports import WITHIN, compare_export

log = logging.getLogger(__name__)


@command("export")
def main(config: DictConfig) -> Path:
    """Write the folder and say how to serve it."""
    keep_quiet()
    for key in ("run", "output"):
        need(config, key, "a folder", f"; {runs_beside(Path('runs/x'))}")
    options = plain(config)
    settings = [field.name for field in dataclasses.fields(ExportSettings)]
    check_keys("", options, ["run", "output", "fresh", "compare", "data", *settings])
    places = options["data"]
    check_keys("data.", places, PLACES)
    asked = ExportSettings(**{name: options[name] for name in settings})
    compare = whole_number("compare", options["compare"], at_least=0)
    output = Path(folder_name("output", options["output"]))
    if not true_or_false("fresh", options["fresh"]) and (output / MANIFEST).exists():
        raise ValueError(f"output: {output} holds an export already; fresh=true replaces it")
    run = FinishedRun(options["run"])
    if asked.certified and run.model_config().get("rules"):
        raise ValueError(
            f"run: the model of {run.folder} has sufficient rules, which cannot be exported; certified=false leaves "
            "them out, and a certificate too"
        )
    model, certificate = run.model_of(asked.engine, certified=asked.certified)
    static = asked.format == "onnx_static"
    data = _data(run, places, needed=static) if static or compare else None
    rows = training_rows(data, CALIBRATION_ROWS) if static and data else None
    export_onnx(
        model,
        run.folder / "model",
        output,
        int8=asked.engine.bits is not None,
        bits=asked.bits,
        calibration=rows,
        certificate=certificate,
    )
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    print(f"{output}: {size:.1f} MB; eat.deployment.OnnxClassifier.from_folder({str(output)!r}) serves it")
    if data is not None and compare:
        _compare(model, output, data, compare, exact=asked.engine.bits is None)
    return output


def _compare(
    model: AdaptiveForSequenceClassification, output: Path, data: TextDataModule, count: int, *, exact: bool
) -> None:
    """Say how far the export answers as the model in torch does."""
    split = data.report_splits[0]
    drawn = np.random.default_rng(0).permutation(len(data.splits[split]))[:count]
    examples = encoded_examples(data, split, drawn.tolist())
    agreement, others = compare_export(model, output, examples, within=WITHIN if exact else math.inf)
    print(f"{split}, beside torch{'' if exact else ' in float32'}: {agreement}")
    if others and exact:
        log.warning("%d texts are answered otherwise than in torch and are no near-ties", len(others))


def _data(run: FinishedRun, places: Mapping[str, Any], *, needed: bool) -> TextDataModule | None:
    """Load the run's data; None, with the reason said, where they are not there and not needed."""
    try:
        return load_data(run, places)
    except (FileNotFoundError, ValueError) as error:
        if needed:
            raise
        log.warning("not compared with torch: %s", one_line(error))
        return None
