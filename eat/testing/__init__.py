"""Checks of parts, in the manner of scikit-learn's estimator checks: one line in the tests of who writes a part.

    from eat.testing import check_pruner

    def test_my_pruner():
        check_pruner(MyPruner, {"depths": [2]})

eat's own parts pass the same checks; `check_export` is for an exported model of yours. They need nothing but what eat
needs at run time.
"""

from eat.testing.attentions import check_attention
from eat.testing.backbones import check_backbone
from eat.testing.checked import Checked, CheckFailedError
from eat.testing.compressions import check_compression
from eat.testing.engines import check_engine
from eat.testing.exits import check_exit
from eat.testing.exports import Agreement, check_export
from eat.testing.objectives import check_objective
from eat.testing.pruners import check_pruner
from eat.testing.tasks import check_task

__all__ = [
    "Agreement",
    "CheckFailedError",
    "Checked",
    "check_attention",
    "check_backbone",
    "check_compression",
    "check_engine",
    "check_exit",
    "check_export",
    "check_objective",
    "check_pruner",
    "check_task",
]
