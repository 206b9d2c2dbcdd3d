"""Exit by a threshold: one score for each example, compared with one threshold or with one per class."""

import abc
import math
import operator
from collections.abc import Callable, Sequence
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from eat.checks import number, whole_number
from eat.ops.confidence import agreeing_heads, margin

Threshold = float | Sequence[float]


class ThresholdExit(abc.ABC):
    """A criterion that compares one score with a threshold.

    Score and comparison are apart, so that a replay computes the scores once and compares them with any number of
    thresholds, by the code that decides live. A score is NaN where a sequence may not exit, and where the logits are
    NaN: no comparison holds for NaN, so that broken logits never exit early.

    A criterion is a dataclass: its fields, in their order, are its arguments.

    Attributes:
        threshold: One number; or one per class, applied to the class that the last head predicts; or None, where a
            criterion has that as its default, if the score's being a number is enough.
        veto_margin: Where the best class leads the second by less than this in the last head's probabilities, an
            example exits only if all heads so far, at least two, agree (EAT's ensemble veto at low margin, against
            texts made to look easy). None: no veto.
        patience: How many heads in a row must fulfil the criterion, where it counts them.
        compare: How a score that exits compares with the threshold; False where the score is NaN.
        published: Thresholds at which the criterion's paper reports it; a threshold means nothing to another criterion.
    """

    active = True
    needs_classes = True
    needs_score = False
    threshold: Threshold | None
    veto_margin: float | None = None
    patience: int = 1
    compare: ClassVar[Callable[..., Tensor]] = staticmethod(operator.ge)
    published: ClassVar[tuple[float, ...]] = ()

    def __post_init__(self) -> None:
        """Check the arguments."""
        whole_number("exit.patience", self.patience)
        if self.threshold is not None or type(self).threshold is not None:
            self.threshold = self.checked_threshold()
        if self.veto_margin is not None:
            self.veto_margin = number("exit.veto_margin", self.veto_margin, at_least=0, at_most=1)

    def checked_threshold(self) -> Threshold:
        """Return the threshold, a float in [0, 1], or one per class as a tuple of them."""
        threshold = self.threshold
        if not isinstance(threshold, Sequence) or isinstance(threshold, str) or not threshold:
            return number("exit.threshold", threshold, at_least=0, at_most=1)
        return tuple(
            number(f"exit.threshold[{index}]", value, at_least=0, at_most=1) for index, value in enumerate(threshold)
        )

    @abc.abstractmethod
    def measure(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Score each example after the last head of the history, before any veto."""

    def score(self, history: Float[Tensor, "heads batch classes"]) -> Float[Tensor, " batch"]:
        """Return the scores that decide: NaN where the veto keeps an example."""
        score = self.measure(history)
        if self.veto_margin is None:
            return score
        vetoed = margin(history[-1]) < self.veto_margin
        if len(history) > 1:
            vetoed &= agreeing_heads(history) < len(history) - 1
        return score.masked_fill(vetoed, math.nan)

    def __call__(self, history: Float[Tensor, "heads batch classes"]) -> Bool[Tensor, " batch"]:
        """Return True where the score passes the threshold."""
        score, bound = self.score(history), self.bound(history.shape[2])
        if isinstance(bound, float):
            return self.compare(score, bound)
        return self.compare(score, score.new_tensor(bound)[history[-1].argmax(-1)])

    def bound(self, num_outputs: int) -> Threshold:
        """Return what the score is compared with: one number, or one for each of the classes."""
        if isinstance(self.threshold, tuple) and len(self.threshold) != num_outputs:
            raise ValueError(
                f"exit.threshold: expected a number, or one for each of the {num_outputs} classes, "
                f"got {len(self.threshold)}: {list(self.threshold)}"
            )
        return 0.0 if self.threshold is None else self.threshold
