"""What holds for every test: no network, no writing outside temporary folders, the same examples on every run."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# Before anything imports Hugging Face or torch: these are read once, at import.
_HF_HOME = tempfile.TemporaryDirectory(prefix="eat-tests-")
os.environ.update(
    {
        "HF_HOME": _HF_HOME.name,  # neither the user's cached downloads nor an earlier run's prepared data
        "EAT_CACHE_DIR": f"{_HF_HOME.name}/eat",
        "EAT_KERNELS": "default",  # no choice that rests on a measurement
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",  # the models are tiny: threads cost more than they save
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_MODE": "offline",
    }
)

import pytest
import torch
from hypothesis import settings
from matplotlib.figure import Figure

from tests import checked

checked.install()

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.record import record_trace
from eat.traces.trace import Trace
from tests.made.clock import ticking_clock
from tests.made.models import TASK, make_batches, make_model
from tests.made.traces import trace_of

with contextlib.suppress(ImportError):  # TensorBoard and OpenVINO bring it
    from absl import logging as absl_logging

    # Its handler takes the stderr that pytest captures at the import, and closes it when Hydra sets logging up anew.
    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=25, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=500, print_blob=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    reasons = {}
    if not torch.cuda.is_available():
        reasons["gpu"] = "needs a CUDA device"
    if "EAT_DATA_ROOT" not in os.environ:
        reasons["data"] = "needs the real data sets: set EAT_DATA_ROOT"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _only_named_roots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the machine's data and weights from tests that do not ask for them, so that all machines test the same."""
    if request.node.get_closest_marker("data") is None:
        monkeypatch.delenv("EAT_DATA_ROOT", raising=False)
        monkeypatch.delenv("EAT_WEIGHTS_ROOT", raising=False)


@pytest.fixture(autouse=True)
def _figures_rendered_where_looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures as ever, but lay out and write them only in tests that look at them: a second for each figure."""

    def write_blank(self: Figure, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"")

    if request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr(Figure, "savefig", write_blank)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo the level that a command gives the root logger: tests after it would see what they do not expect."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same global random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model() -> AdaptiveForSequenceClassification:
    return make_model()


@pytest.fixture(scope="module")
def trace(model: AdaptiveForSequenceClassification) -> Trace:
    return record_trace(model, make_batches(), TASK, metadata={"split": "validation", "config": model.config.to_dict()})


@pytest.fixture
def made_trace() -> Callable[..., Trace]:
    return trace_of


@pytest.fixture
def ticking() -> Callable[[list[float]], Callable[[], float]]:
    return ticking_clock
