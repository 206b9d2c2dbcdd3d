import shutil
from pathlib import Path

import pytest

from tests.made.runs import write_traced_run


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_traced_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def run(traced: Path, tmp_path: Path) -> Path:
    """Copy the traced run, which a test may change."""
    return Path(shutil.copytree(traced, tmp_path / "small"))
