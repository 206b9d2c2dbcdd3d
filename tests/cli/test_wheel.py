"""What a user gets: the built wheel, installed, brings the command and its configuration."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("budget.epochs=1", "data.train_examples=64", "data.threshold_examples=32", "data.certification_examples=32")


def test_the_installed_command_trains_and_evaluates_in_an_empty_folder(tmp_path):
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel (pip install -e .[dev])")

    def run(*command, cwd=tmp_path):
        done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    bin_ = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    paths = {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    # What eat needs comes from here, but not eat itself: the .pth files of a folder that a .pth file adds are not read.
    (site / "packages.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    run(sys.executable, "-m", "pip", "--python", bin_ / "python", "install", "--no-deps", "--no-index", "-q", wheel)

    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(bin_ / "eat", "--version", cwd=empty).startswith("eat ")
    assert "MNLI" in run(
        bin_ / "python", "-c", "from eat.results import published as p; print(p.published_section('mnli'))"
    )
    run(bin_ / "eat", "train", "experiment=demo", "evaluation.stages=[quality]", *SMALL, cwd=empty)
    (folder,) = empty.glob("runs/demo/*")
    assert (folder / "report" / "summary.md").is_file()
    said = run(bin_ / "eat", "evaluate", f"run={folder.relative_to(empty)}", "stages=[quality]", cwd=empty)
    assert "report: runs/demo/" in said
    assert {path.name for path in empty.iterdir()} == {"runs"}
