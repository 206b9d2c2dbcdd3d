"""Choose one rule per class on the threshold split, then find each one's threshold on the certification split.

Three kinds of rows, each for one thing: weights are fitted on training rows, tap, pooling and cost are chosen on the
threshold split, which also gives the thresholds to test; the certification split is read by the tests alone.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from eat.evaluation.certify.p_values import binomial_upper_bound, examples_needed
from eat.evaluation.certify.risk_control import BinomialTest, certified_prefix
from eat.evaluation.rules.fit import fit_scores
from eat.evaluation.rules.settings import RulesSettings
from eat.evaluation.rules.taps import Place, Tapped
from eat.models.rules import SufficientRule, Tap

COSTS = (1.0, 10.0, 100.0)
"""What a text of another class may cost in the fit, next to one of the class."""

Saved = Mapping[Tap, Float[np.ndarray, " examples"]]
"""Work that each text of the threshold split saves by exiting at a tap, as a share of the mean work of full depth."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A half-space that may become a rule, with what the threshold split says of it."""

    place: Place
    label: int
    weight: Float[np.ndarray, " dim"]  # float32
    thresholds: Float[np.ndarray, " thresholds"]  # to be tested, from cautious to fast
    coverage: float  # share of the threshold split that exits at the last threshold that should pass
    saved: float  # work saved there, as a share of full depth's

    def scores(self, split: Tapped) -> Float[np.ndarray, " examples"]:
        """Score a split's texts, as a model does."""
        return (torch.from_numpy(split.pooled[self.place]) @ torch.from_numpy(self.weight)).numpy()


@dataclasses.dataclass(frozen=True)
class Tested:
    """A rule with what the certification split says of it, or why there is none."""

    candidate: Candidate
    rule: SufficientRule | None  # None where it is refused
    fires: int  # texts of the certification split that fire it
    false: int  # of these, those with another answer at full depth
    reason: str = ""  # of a refusal


def rule_test(settings: RulesSettings, rules: int) -> BinomialTest:
    """Return the test of each of so many rules: bound and error are split evenly, so that all hold together."""
    return BinomialTest(settings.max_false_exits / rules, 1 - (1 - settings.confidence) / rules)


def check_enough(settings: RulesSettings, examples: int) -> None:
    """Refuse a certification split that is too small for a single rule that is never wrong."""
    needed = examples_needed(rule_test(settings, 1).passes, 0.0)
    if needed is None or examples < needed:
        raise ValueError(
            f"rules: the certification split has {examples} examples; certifying {settings.max_false_exits:g} at "
            f"{100 * settings.confidence:g} % confidence takes at least {needed or 'millions'} for one rule, even if "
            "it is never wrong; raise rules.max_false_exits, or train with a larger data.certification_examples"
        )


def candidates(
    fitted_on: Tapped, chosen_on: Tapped, saved: Saved, settings: RulesSettings, calibration: int
) -> Iterator[Candidate]:
    """Fit every tap, pooling, class and cost; of the costs the one that saves most on the threshold split stays.

    A class that the fitted or the threshold rows lack has none. ``calibration`` is the number of rows that will test.
    """
    classes = [c for c in np.unique(fitted_on.answers) if 0 < (fitted_on.answers == c).mean() < 1]
    classes = [c for c in classes if c in chosen_on.answers]
    is_class = torch.from_numpy(fitted_on.answers[:, None] == np.array(classes)[None, :])
    test = rule_test(settings, max(1, len(classes)))
    for place, rows in fitted_on.pooled.items() if classes else ():
        weights = [fit_scores(torch.from_numpy(rows), is_class, cost).numpy() for cost in COSTS]
        for index, label in enumerate(classes):
            fits = [
                _candidate(place, int(label), weight[index], chosen_on, saved[place[0]], test, calibration)
                for weight in weights
            ]
            yield max(fits, key=lambda fit: fit.saved)


def choose(found: Sequence[Candidate], settings: RulesSettings, calibration: int) -> list[Candidate]:
    """Return the candidate of each class that saves most, as many of these as the rows can test at once.

    They come in the order in which a model meets them.
    """
    useful = sorted((one for one in found if one.saved > 0), key=lambda one: one.saved)
    ranked = sorted({one.label: one for one in useful}.values(), key=lambda one: -one.saved)
    while ranked and calibration < (examples_needed(rule_test(settings, len(ranked)).passes, 0.0) or np.inf):
        ranked.pop()
    return sorted(ranked, key=lambda one: (one.place[0], one.label))


def certify(chosen: Sequence[Candidate], split: Tapped, settings: RulesSettings) -> list[Tested]:
    """Test the thresholds of each rule in turn, from cautious to fast, and keep the last before the first that fails.

    The loss of a text is 1 where it fires the rule and has another answer at full depth, whatever other rules do: the
    losses of rules that act one after another are at most the sum. Each sequence is tested at its part of the error
    (`rule_test`): all bounds hold together with the confidence.
    """
    test = rule_test(settings, max(1, len(chosen)))
    return [_tested(one, split, test) for one in chosen]


def exits_by(tested: Sequence[Tested], split: Tapped) -> Int[np.ndarray, " examples"]:
    """Return the index of the rule by which each text exits, the first that fires; -1 where none does."""
    by = np.full(len(split.answers), -1)
    for index, one in reversed(list(enumerate(tested))):
        if one.rule is not None:
            by[one.candidate.scores(split) > one.rule.threshold] = index
    return by


def _candidate(
    place: Place,
    label: int,
    weight: Float[np.ndarray, " dim"],
    split: Tapped,
    saved: Float[np.ndarray, " examples"],
    test: BinomialTest,
    calibration: int,
) -> Candidate:
    """Measure a half-space on the threshold split: where it should pass on so many calibration rows."""
    made = Candidate(place, label, weight, np.zeros(0), 0.0, 0.0)
    scores = made.scores(split)
    thresholds = np.unique(scores)[::-1]
    fires = scores[None, :] > thresholds[:, None]
    false = (fires & (split.answers != label)).mean(1)
    count = int(certified_prefix(test.passes(np.ceil(false * calibration), calibration)))
    exits = fires[count - 1] if count else np.zeros(len(scores), bool)
    return dataclasses.replace(
        made, thresholds=thresholds, coverage=float(exits.mean()), saved=float((exits * saved).mean())
    )


def _tested(candidate: Candidate, split: Tapped, test: BinomialTest) -> Tested:
    if candidate.label not in split.answers:
        return Tested(candidate, None, 0, 0, f"no text of the certification split is answered {candidate.label}")
    scores, other = candidate.scores(split), split.answers != candidate.label
    fires = scores[None, :] > candidate.thresholds[:, None]
    lost = (fires & other).sum(1)
    count = int(certified_prefix(test.passes(lost, len(scores))))
    exits, false = (int(fires[count - 1].sum()), int(lost[count - 1])) if count else (0, 0)
    exit_bound = float(binomial_upper_bound(np.array(false), exits, test.confidence)) if exits else 1.0
    if exit_bound >= 0.5:
        why = "its most cautious threshold fails" if not count else f"it fires {exits} times there, too rarely to tell"
        return Tested(candidate, None, exits, false, why)
    tap, pooling = candidate.place
    rule = SufficientRule(
        depth=tap.depth,
        place=tap.place,
        pooling=pooling,
        label=candidate.label,
        weight=tuple(candidate.weight.tolist()),
        threshold=float(candidate.thresholds[count - 1]),
        bound=test.max_risk,  # what the sequence certifies; a tighter one of the last threshold alone would not hold
        exit_bound=exit_bound,
    )
    return Tested(candidate, rule, exits, false)
