"""Export a finished run for serving."""

from pathlib import Path

from omegaconf import DictConfig

from eat.checks import folder_name, one_of
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.deployment.export import FORMATS, export_onnx
from eat.runs.finished import FinishedRun, runs_beside


@command("export")
def main(config: DictConfig) -> Path:
    """Write the folder and say how to serve it."""
    keep_quiet()
    for key in ("run", "output"):
        need(config, key, "a folder", f"; {runs_beside(Path('runs/x'))}")
    options = plain(config)
    check_keys("", options, ["run", "output", "format", "bits"])
    kind = one_of("format", options["format"], FORMATS)
    output = Path(folder_name("output", options["output"]))
    run = FinishedRun(options["run"])
    model = run.load_model("cpu")
    export_onnx(model, run.folder / "model", output, int8=kind == "onnx_int8", bits=options["bits"])
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    print(f"{output}: {size:.1f} MB; eat.deployment.OnnxClassifier.from_folder({str(output)!r}) serves it")
    return output
