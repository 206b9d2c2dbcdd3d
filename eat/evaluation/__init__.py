"""What a finished run is worth: traces, replayed operating points, benchmark, tables and figures."""

from eat.evaluation.between_runs.combined import combine
from eat.evaluation.report.summary import Report
from eat.evaluation.run import check_options, evaluate_run
from eat.evaluation.stages import STAGES

__all__ = ["STAGES", "Report", "check_options", "combine", "evaluate_run"]
