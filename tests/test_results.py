"""Committed results rebuild, byte for byte, with the command that their summary prints: no weights, no data needed."""

import filecmp
import re
import shlex
import shutil
from pathlib import Path

import matplotlib as mpl
import pytest
from hydra import compose, initialize_config_dir

from eat.cli import evaluate
from eat.cli.compose import CONF
from eat.runs.saved import read_config

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(config.parent for config in (ROOT / "results").rglob("config.yaml"))
QUICK = ("8da0cc23", "c5b8f12e", "694c7af7")
"""One run of the demo, one dense, one retrofitted with its certificate; the others are slow."""

CONSTRAINTS = ROOT / "constraints.txt"
SAME_FIGURES = CONSTRAINTS.is_file() and f"matplotlib=={mpl.__version__}\n" in CONSTRAINTS.read_text(encoding="utf-8")


def marked(folder: Path) -> object:
    quick = folder.name.endswith(QUICK)
    return pytest.param(folder, id=folder.name, marks=() if quick else pytest.mark.slow)


def printed_command(folder: Path) -> list[str]:
    """Return the overrides of the command that a report ends with."""
    summary = (folder / "report" / "summary.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    python evaluate\.py (.*)$", summary, re.MULTILINE)
    return shlex.split(command)


@pytest.mark.figures
@pytest.mark.parametrize("folder", [marked(folder) for folder in FOLDERS])
def test_they_rebuild_with_the_printed_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = printed_command(folder)
    for override in overrides:
        name, _, value = override.partition("=")
        if name in ("run", "baseline_run"):
            shutil.copytree(ROOT / value, tmp_path / value)
    began = read_config(folder, folder.name)["backbone"].get("path") or ""
    for name in Path(began).parts:  # of the run whose weights it began with, where that lies beside it
        if (folder.parent / name / "config.yaml").is_file():
            shutil.copytree(folder.parent / name, tmp_path / folder.parent.relative_to(ROOT) / name)
    copy = tmp_path / folder.relative_to(ROOT)
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(CONF, version_base="1.3"):
        evaluate.main.__wrapped__(compose("evaluate", overrides))
    committed = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    rebuilt = {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
    assert rebuilt == committed
    compared = [name for name in committed if SAME_FIGURES or name.suffix != ".png"]
    assert [str(name) for name in compared if not filecmp.cmp(folder / name, copy / name, shallow=False)] == []
