"""What a finished run is worth: traces, replayed operating points, benchmark, tables and figures."""

from eat.evaluation.combined import combine
from eat.evaluation.evaluation import STAGES, evaluate_run
from eat.evaluation.report import Report

__all__ = ["STAGES", "Report", "combine", "evaluate_run"]
