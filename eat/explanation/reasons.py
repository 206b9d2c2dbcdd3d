"""Say in words why a sequence exits after a head, or goes on."""

from __future__ import annotations

import math
import operator

from jaxtyping import Float
from torch import Tensor

from eat.exits import ExitCriterion, ThresholdExit

SIGNS = {operator.ge: ">=", operator.gt: ">", operator.le: "<=", operator.lt: "<"}
LAST = "the last head answers what is left"
NOT_RUN = "not run, as no text exits early here"
NOT_REACHED = "not reached"


def reason(name: str, criterion: ExitCriterion, history: Float[Tensor, "heads one classes"]) -> str:
    """Say what a criterion makes of one sequence's heads so far.

    Args:
        name: The criterion's name.
        criterion: The criterion.
        history: Logits of the heads so far, the batch being one sequence.
    """
    leaves = bool(criterion(history))
    if not isinstance(criterion, ThresholdExit):
        return f"{name}: {'exits' if leaves else 'goes on'}"
    score = float(criterion.measure(history))
    if math.isnan(score):
        return f"{name} has no score yet: too few heads so far agree or can be compared"
    if criterion.threshold is None:
        passed = f"{name}: enough heads in a row fulfil it"
    else:
        bound = criterion.bound(history.shape[2])
        least = bound if isinstance(bound, float) else bound[int(history[-1].argmax())]
        sign = SIGNS.get(criterion.compare, "against")
        passed = f"{name} {score:.4g} {sign} {least:g}"
        if not leaves and not math.isnan(float(criterion.score(history))):
            return f"{name} {score:.4g}, needs {sign} {least:g}"
    if not leaves:
        return f"{passed}, but vetoed: classes within {criterion.veto_margin:g}, and the heads do not all agree"
    return passed
