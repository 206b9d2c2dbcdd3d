"""What came of an attempt to add rules: what they do on the reported split, and what they save in time."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from eat.benchmark.contenders import ours
from eat.benchmark.engines import Encoded
from eat.benchmark.protocol import Budget, Timed, Timing, measure
from eat.evaluation.certify.p_values import binomial_upper_bound
from eat.evaluation.rules.choose import Candidate, Tested, exits_by
from eat.evaluation.rules.settings import RulesSettings
from eat.evaluation.rules.taps import Tapped
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.rules import SufficientRule
from eat.models.sharing import sharing_copy, variant
from eat.traces.replay import replay
from eat.traces.trace import Trace

WITH_RULES = " + rules"
"""Ends the name of a contender that has the rules."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What rules do to a split that neither chose nor certified them."""

    examples: int  # of the split
    exits: int  # texts that exit by a rule
    false: int  # of these, those with another answer at full depth
    by_rule: Sequence[tuple[int, int]]  # exits and false ones of each tested rule, in the order in which they act
    accuracy: Mapping[str, float]  # against gold labels, of each contender

    def false_bound(self, confidence: float) -> float:
        """Bound the share of all texts that exit falsely, by this split alone (Clopper and Pearson)."""
        return float(binomial_upper_bound(np.array(self.false), self.examples, confidence))


@dataclasses.dataclass(frozen=True)
class Times:
    """Times of interleaved calls, speed-ups over full depth without rules."""

    examples: int  # texts that were timed
    rounds: int  # how often
    threads: int  # of torch
    device: str  # where
    timings: Mapping[str, Timing]  # by contender
    over_exits: tuple[float, float, float] | None  # the exits with rules over those without; None where there are none
    agree: tuple[int, int]  # live answers of full depth with rules that are the expected ones, and all


@dataclasses.dataclass(frozen=True, kw_only=True)
class RulesResult:
    """What came of an attempt."""

    settings: RulesSettings
    fitted_on: int  # training rows
    chosen_on: int  # rows of the threshold split
    certified_on: int  # rows of the certification split
    split: str  # the reported split
    classes: Sequence[str]  # names of the classes, in label order
    candidates: Sequence[Candidate]  # the best of each tap, pooling and class
    tested: Sequence[Tested]  # one per class at most, in the order in which a model meets them
    kept: Kept
    times: Times | None = None  # None where no rule was certified

    @property
    def rules(self) -> list[SufficientRule]:
        """The certified rules."""
        return [one.rule for one in self.tested if one.rule is not None]

    @property
    def bound(self) -> float:
        """Certified bound of the share of all texts that exit falsely by any rule: the sum of the rules'."""
        return sum(rule.bound for rule in self.rules)

    def to_json(self) -> dict[str, Any]:
        """Return what `rules.json` holds."""
        return {
            "settings": dataclasses.asdict(self.settings),
            "rows": {"fit": self.fitted_on, "threshold": self.chosen_on, "certification": self.certified_on},
            "bound": self.bound if self.rules else None,
            "rules": [dataclasses.asdict(rule) for rule in self.rules],
            "refused": [
                {"label": one.candidate.label, "reason": one.reason} for one in self.tested if one.rule is None
            ],
            "reported": {"split": self.split} | dataclasses.asdict(self.kept),
            "times": self.times and dataclasses.asdict(self.times),
        }


def measure_kept(tested: Sequence[Tested], split: Tapped, trace: Trace, exit: OperatingPoint) -> Kept:
    """Let rules act on the reported split, before full depth and before an operating point's exits."""
    by = exits_by(tested, split)
    left = by >= 0
    false = _with(tested, by, split.answers) != split.answers
    accuracy = {}
    for point in dict.fromkeys([FULL_DEPTH, exit]):
        answers = split.answers if point == FULL_DEPTH else replay(trace, point).logits.argmax(1)
        accuracy[point.label] = float((answers == trace.labels).mean())
        accuracy[point.label + WITH_RULES] = float((_with(tested, by, answers) == trace.labels).mean())
    counted = [(int((by == index).sum()), int((false & (by == index)).sum())) for index in range(len(tested))]
    return Kept(len(left), int(left.sum()), int(false.sum()), counted, accuracy)


def expected_answers(tested: Sequence[Tested], split: Tapped) -> Int[np.ndarray, " examples"]:
    """Return what the model answers at full depth once it has the rules."""
    return _with(tested, exits_by(tested, split), split.answers)


def _with(
    tested: Sequence[Tested], by: Int[np.ndarray, " examples"], answers: Int[np.ndarray, " examples"]
) -> Int[np.ndarray, " examples"]:
    labels = np.array([*(one.candidate.label for one in tested), -1])  # the last where no rule fires, and is not read
    return np.where(by >= 0, labels[by], answers)


def time_rules(
    model: AdaptiveForSequenceClassification,
    rules: Sequence[SufficientRule],
    exit: OperatingPoint,
    examples: Sequence[Encoded],
    expected: Int[np.ndarray, " examples"],
    settings: RulesSettings,
) -> Times:
    """Time full depth and an operating point's exits, each with and without the rules, in turns on the same batches."""
    models: dict[str, AdaptiveForSequenceClassification] = {}
    for point in dict.fromkeys([FULL_DEPTH, exit]):
        plain = variant(model, exit=point.spec)
        ruled = sharing_copy(plain)
        ruled.set_rules(rules)
        models |= {point.label: plain, point.label + WITH_RULES: ruled}
    budget = Budget(seconds=settings.seconds, rounds=settings.rounds)
    calls = {name: ours(name, one).call for name, one in models.items()}
    timed = measure(calls, examples, settings.batch_size, budget)
    live = timed.logits(FULL_DEPTH.label + WITH_RULES).argmax(1)
    return Times(
        examples=timed.examples,
        rounds=timed.rounds,
        threads=torch.get_num_threads(),
        device=str(model.device),
        timings=timed.over(FULL_DEPTH.label),
        over_exits=_over_exits(timed, exit),
        agree=(int((live == expected[: len(live)]).sum()), len(live)),
    )


def _over_exits(timed: Timed, exit: OperatingPoint) -> tuple[float, float, float] | None:
    if exit == FULL_DEPTH:
        return None
    return timed.over(exit.label)[exit.label + WITH_RULES].speedup
