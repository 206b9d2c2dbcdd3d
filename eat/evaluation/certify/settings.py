"""What is to be certified, and how."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from eat.checks import folder_name, number, one_of, several, shown
from eat.evaluation.certify.losses import RISKS, Risk
from eat.evaluation.certify.p_values import examples_needed
from eat.evaluation.certify.risk_control import (
    BinomialTest,
    ExpectationBound,
    HoeffdingBentkusTest,
    RiskTest,
    SignedTest,
)
from eat.exits import EXITS

METHODS = ("pareto_testing", "learn_then_test", "conformal_risk_control")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertifySettings:
    """What is to be guaranteed, and how.

    Attributes:
        confidence: Probability over certification splits with which it holds, in (0, 1). Conformal Risk Control
            guarantees an expectation instead and does not use it.
        method: ``pareto_testing`` (the front over criteria, thresholds and runs), ``learn_then_test`` (the thresholds
            of one criterion) or ``conformal_risk_control`` (the same thresholds, a guarantee in expectation).
        veto_margin: Where the best class leads by less than this, all heads must agree; see
            `eat.exits.ThresholdExit`. None: no veto.
        runs: Folders of further runs, such as the same weights with other pruning, that answer the same splits.
        by: Bound the risk of each group by itself: label, length (thirds of the threshold split), or a column of the
            traces. None: only that of all texts.
        reference: Folder of a dense run on the same data, at whose full depth losses are measured. None: the run's own.
    """

    max_drop: int | float = dataclasses.field(  # the bound on the mean loss, in (0, 1): 0.01 is one point of accuracy
        metadata={"expected": "the largest loss to certify, such as 0.01 for one point"}
    )
    confidence: int | float = 0.95
    loss: str = "accuracy_gap"  # name in `RISKS`
    method: str = "pareto_testing"
    criteria: Sequence[str] = ()  # names of the exits that may be chosen; empty for all
    veto_margin: int | float | None = None
    runs: Sequence[str] = ()
    by: str | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        number("certify.max_drop", self.max_drop, above=0, below=1)
        number("certify.confidence", self.confidence, above=0, below=1)
        one_of("certify.loss", self.loss, RISKS)
        one_of("certify.method", self.method, METHODS)
        if self.veto_margin is not None:
            number("certify.veto_margin", self.veto_margin, at_least=0, at_most=1)
        for name in several("certify.criteria", self.criteria, "[confidence]"):
            EXITS.checked("certify.criteria", name)
        for run in several("certify.runs", self.runs, "[runs/sst2/a]"):
            folder_name("certify.runs", run)
        if self.by is not None and (not isinstance(self.by, str) or not self.by):
            raise ValueError(f"certify.by: expected label, length or a column of the traces, got {shown(self.by)}")
        if self.reference is not None:
            folder_name("certify.reference", self.reference)

    def to_json(self) -> dict[str, Any]:
        """Return what `certificate.json` holds; what came later is left out where it is not asked for."""
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if value is not None or key not in ("by", "reference")}

    @property
    def risk(self) -> Risk:
        """The loss."""
        return RISKS[self.loss]

    @property
    def in_expectation(self) -> bool:
        """True where the guarantee is about the expected loss, not about a probability."""
        return self.method == "conformal_risk_control"

    @property
    def test(self) -> RiskTest:
        """The test that the method makes of each operating point."""
        if self.in_expectation:
            return ExpectationBound(self.max_drop)
        return self.mean_test(self.max_drop, self.confidence)

    def mean_test(self, max_risk: float, confidence: float) -> BinomialTest:
        """Return the test of a mean of losses of this kind."""
        kind = SignedTest if self.risk.is_signed else BinomialTest if self.risk.is_binary else HoeffdingBentkusTest
        return kind(max_risk, confidence)

    @property
    def least_examples(self) -> int | None:
        """Examples without which not even an exit that never loses anything can be certified."""
        return examples_needed(self.test.passes, 0.0)
