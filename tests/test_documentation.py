"""What the documentation shows runs and is there: sessions in docstrings, blocks of Python, links, parts in the API."""

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from eat.attention import ATTENTIONS
from eat.backbones import BACKBONES
from eat.backbones.tiny import tiny_config
from eat.data.tokenizer import train_tokenizer
from eat.exits import EXITS
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.pruners import PRUNERS
from eat.training.compression import COMPRESSIONS
from eat.training.objectives import OBJECTIVES
from tests.made.guarded import certificate_for

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODEL = "runs/sst2/.../model"
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef


def examples() -> Iterator[Any]:
    """Yield every docstring of the package that shows a session, with its module."""
    for path in sorted((ROOT / "eat").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            if text and ">>>" in text:
                yield pytest.param(module, text, id=f"{module}.{getattr(node, 'name', '')}")


def blocks() -> Iterator[Any]:
    """Yield the Python blocks of README and docs."""
    for page in PAGES:
        for i, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)):
            yield pytest.param(block, id=f"{page.stem}-{i}")


@pytest.mark.parametrize(("module", "text"), list(examples()))
def test_sessions_in_docstrings_run(module: str, text: str) -> None:
    names = dict(vars(importlib.import_module(module)))
    said: list[str] = []
    session = doctest.DocTestParser().get_doctest(text, names, module, None, 0)
    doctest.DocTestRunner(verbose=False).run(session, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("block", list(blocks()))
def test_blocks_in_pages_compile_and_import_what_exists(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def run_blocks(page: str, names: dict[str, Any], model: str = MODEL) -> dict[str, Any]:
    """Run a page's blocks of Python, one after the other."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(block.replace(MODEL, model), names)
    return names


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
def test_the_page_about_python_runs(tmp_path: Path) -> None:
    model = AdaptiveForSequenceClassification.from_backbone(
        tiny_config(num_layers=6), head_depths=[2, 4], exit={"name": "confidence", "threshold": 0.5}, seed=0
    )
    model.save_pretrained(tmp_path)
    train_tokenizer(["a gripping, funny film", "the plot goes nowhere"], 60).save_pretrained(tmp_path)
    names = run_blocks("python.md", {}, str(tmp_path))
    assert names["out"].exit_depth.tolist() == [2, 2] and names["prediction"].exit_depth in (2, 4, 6)


def test_the_guard_of_the_page_about_exits_runs() -> None:
    model = AdaptiveForSequenceClassification.from_backbone(
        tiny_config(), head_depths=[1, 2], exit={"name": "confidence", "threshold": 0.6}, seed=0
    )
    model.config.certificate = certificate_for(model)
    texts = ["a gripping, funny film", "the plot goes nowhere"]
    names = run_blocks("exits.md", {"model": model, "tokenizer": train_tokenizer(texts, 60), "texts": texts})
    assert names["guard"].fired == () and isinstance(names["output"].logits, torch.Tensor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_api_has_every_part() -> None:
    shown = re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api" / "parts.md").read_text(encoding="utf-8"), re.M)
    families: tuple[Any, ...] = (ATTENTIONS, BACKBONES, COMPRESSIONS, EXITS, OBJECTIVES, PRUNERS)
    parts = {f"{part.__module__}.{part.__qualname__}" for family in families for part in family.values()}
    assert parts - set(shown) == set()
