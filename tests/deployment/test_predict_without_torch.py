"""`eat predict` on an export where torch and transformers cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eat.cli.predict import of_an_export
from eat.deployment import PredictSettings, predict_file
from tests.deployment.predictions import make_texts, read_rows, write_rows

PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "lightning")))
from eat.cli.main import main
main()
"""


def eat(
    *arguments: str, blocked: tuple[str, ...] = ("torch", "transformers", "lightning")
) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("int8", [False, True])
def test_an_export_is_answered(run: Path, tmp_path: Path, int8: bool) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from eat.deployment import export_onnx

    export_onnx(run / "model", run / "model", served := tmp_path / "served", int8=int8, **{"bits": 7} if int8 else {})
    rows = [{"id": i, "title": text, "body": "soup"} for i, text in enumerate(make_texts(30))]
    source, output = write_rows(tmp_path / "in.csv", rows), tmp_path / "out.parquet"
    options = {"text": ["title", "body"], "keep": ["id"], "cache": 9}
    typed = ["text=[title,body]", "keep=[id]", "cache=9", f"engine={'onnx_int8' if int8 else 'onnx'}"]
    done = eat("predict", f"model={served}", f"input={source}", f"output={output}", *typed)
    assert done.returncode == 0, done.stderr
    assert "30 rows, mean exit depth" in done.stderr
    predict_file(served, source, tmp_path / "here.parquet", PredictSettings(progress=False, **options))
    assert read_rows(output) == read_rows(tmp_path / "here.parquet")
    refused = eat("predict", f"model={served}", f"input={source}", f"output={tmp_path}/no.csv")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: text: ") and "has no column 'text'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1 and not (tmp_path / "no.csv").exists()


def test_all_else_is_left_to_what_commands_share(tmp_path: Path) -> None:
    (tmp_path / "eat_onnx.json").write_text("{}")
    plain = [f"model={tmp_path}", "input=in.csv", "output=-", "keep=[id]", "threads=2"]
    assert of_an_export(plain) == {
        "model": str(tmp_path),
        "input": "in.csv",
        "output": "-",
        "keep": ["id"],
        "threads": 2,
    }
    for other in ("--help", "-m", "exit=never", "exit.threshold=0.9", "guard=true", "+x=1", "treads=2", "cache=1,2"):
        assert of_an_export([*plain, other]) is None
    assert of_an_export(plain[:2]) is None and of_an_export([*plain[1:], "model=nowhere"]) is None
    assert of_an_export([*plain, "text=${oc.env:HOME}"]) is None and of_an_export([*plain, "keep=[id"]) is None
