"""What a finished run is worth: traces, replayed operating points, benchmark, tables and figures.

Names are loaded when they are asked for: a process that measures the memory of one contender needs none of this.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eat.evaluation.between_runs.combined import combine
    from eat.evaluation.report.summary import Report
    from eat.evaluation.run import evaluate_run
    from eat.evaluation.stages import STAGES

__all__ = ["STAGES", "Report", "combine", "evaluate_run"]

_MODULES = {"STAGES": "stages", "Report": "report.summary", "combine": "between_runs.combined", "evaluate_run": "run"}


def __getattr__(name: str) -> Any:
    """Load a name of this package."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
