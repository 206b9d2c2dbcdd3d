"""Export a finished run for serving."""

import dataclasses
from pathlib import Path

from omegaconf import DictConfig

from eat.benchmark.engines.engine import CALIBRATION_ROWS
from eat.benchmark.tokenizing import training_rows
from eat.checks import folder_name, true_or_false
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.deployment.export import ExportSettings, export_onnx
from eat.deployment.manifest import FILE as MANIFEST
from eat.runs.data import PLACES, load_data
from eat.runs.finished import FinishedRun, runs_beside


@command("export")
def main(config: DictConfig) -> Path:
    """Write the folder and say how to serve it."""
    keep_quiet()
    for key in ("run", "output"):
        need(config, key, "a folder", f"; {runs_beside(Path('runs/x'))}")
    options = plain(config)
    settings = [field.name for field in dataclasses.fields(ExportSettings)]
    check_keys("", options, ["run", "output", "fresh", "data", *settings])
    places = options["data"]
    check_keys("data.", places, PLACES)
    asked = ExportSettings(**{name: options[name] for name in settings})
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
    rows = training_rows(load_data(run, places), CALIBRATION_ROWS) if asked.format == "onnx_static" else None
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
    return output
