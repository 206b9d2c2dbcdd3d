"""What the documentation shows runs: examples in docstrings, and the pages' blocks of Python as far as names go."""

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
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
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
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
