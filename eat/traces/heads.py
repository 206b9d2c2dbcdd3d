"""How well each head's probabilities can be trusted."""

import dataclasses

import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import binary_auroc

from eat.ops.calibration import brier_score, expected_calibration_error
from eat.traces.trace import Trace


@dataclasses.dataclass(frozen=True)
class HeadCalibration:
    """What one head's probabilities are worth on one split; doubt is 1 - confidence.

    In a multi-label task each label of each example counts as an example of two classes.
    """

    depth: int  # the head's depth
    accuracy: float  # share of right answers
    confidence: float  # mean probability of the answer
    ece: float  # expected calibration error, 15 bins, in [0, 1]
    brier: float  # Brier score over all classes, in [0, 2]
    nll: float  # mean cross-entropy, in nats
    auroc: float | None  # how often a wrong answer is doubted more than a right one; None where one kind is missing


def measure_heads(trace: Trace) -> list[HeadCalibration]:
    """Measure every head of a trace, as its logits are.

    Raises:
        ValueError: If the model predicts a score, which has no probability.
    """
    if trace.is_regression:
        raise ValueError("calibrate: needs class probabilities; a regression model has none")
    measured = []
    for head, depth in enumerate(trace.head_depths):
        asked, answers = trace.questions(trace.all_logits[:, head])
        logits, labels = torch.from_numpy(asked).double(), torch.tensor(answers, dtype=torch.long)
        probabilities = logits.softmax(1)
        confidence, right = probabilities.amax(1), logits.argmax(1) == labels
        mixed = bool(right.any()) and not bool(right.all())
        measured.append(
            HeadCalibration(
                depth=depth,
                accuracy=float(right.double().mean()),
                confidence=float(confidence.mean()),
                ece=expected_calibration_error(confidence, right),
                brier=brier_score(probabilities, labels),
                nll=float(F.cross_entropy(logits, labels)),
                auroc=float(binary_auroc((1 - confidence).clamp(0, 1), (~right).long())) if mixed else None,
            )
        )
    return measured
