"""Guarantees by simulation: 1,000 calibration sets from a population whose risks are known exactly."""

import numpy as np
import pytest
from scipy import stats

from eat.evaluation.certify.risk_control import (
    BinomialTest,
    ExpectationBound,
    HoeffdingBentkusTest,
    certified_prefix,
    cost_chain,
    monotone,
    pareto_chain,
)

DRAWS, POPULATION, THRESHOLDS = 1000, 4000, 100
CONFIDENCE = 0.9
# So many failures are exceeded once in a thousand simulations where each draw fails with probability 1 - CONFIDENCE.
MOST_FAILURES = int(stats.binom.ppf(0.999, DRAWS, 1 - CONFIDENCE))


class Known:
    """A finite population: losses and costs (points, population) of every operating point, from cautious to fast.

    An example leaves where its score reaches the point's threshold, and is then lost with a probability that grows as
    scores fall: what exits really do. A second criterion orders the examples by a noisier score.
    """

    def __init__(self, noise: float = 0.0, real: bool = False, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        sure = generator.uniform(size=POPULATION)
        score = np.argsort(np.argsort(sure + noise * generator.normal(size=POPULATION))) / POPULATION
        lost = (generator.uniform(size=POPULATION) < 0.4 * (1 - sure) ** 2).astype(float)
        lost *= generator.uniform(size=POPULATION) if real else 1.0
        self.leaves = score >= np.linspace(1, 0, THRESHOLDS)[:, None]
        self.losses = self.leaves * lost
        self.costs = 1 - 0.8 * self.leaves

    @property
    def risks(self) -> np.ndarray:
        return self.losses.mean(axis=1)


def draw(examples: int, seed: int) -> np.ndarray:
    """How often each example of the population is in each calibration set (drawn with replacement)."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(examples, np.full(POPULATION, 1 / POPULATION), size=DRAWS)
    return counts.astype(np.float32)


def totals(counts: np.ndarray, losses: np.ndarray) -> np.ndarray:
    return (counts @ losses.T.astype(np.float32)).astype(np.float64)


def saved(costs: np.ndarray, chosen: np.ndarray) -> float:
    """Mean saving of the points chosen, 0 where none was."""
    savings = np.concatenate(([0.0], 1 - costs.mean(axis=1)))
    return float(savings[chosen].mean())


@pytest.mark.parametrize("bound", [0.02, 0.05])
@pytest.mark.parametrize("real", [False, True], ids=["binomial", "hoeffding_bentkus"])
def test_learn_then_test(real: bool, bound: float) -> None:
    known = Known(real=real)
    test = (HoeffdingBentkusTest if real else BinomialTest)(bound, CONFIDENCE)
    chosen = certified_prefix(test.passes(totals(draw(1500, seed=1), known.losses), 1500))
    risks = np.concatenate(([0.0], known.risks))
    assert known.risks.max() > bound  # going all the way would break it
    assert (risks[chosen] > bound).sum() <= MOST_FAILURES
    best = int((known.risks <= bound).sum())
    assert saved(known.costs, chosen) >= (0.7 if real else 0.85) * saved(known.costs, np.array([best]))


def test_a_level_that_is_not_kept_is_noticed() -> None:
    """The simulation can fail: taking the observed mean for the risk breaks the bound in about half of the draws."""
    known, bound = Known(), 0.02
    chosen = certified_prefix(totals(draw(1500, seed=1), known.losses) / 1500 <= bound)
    assert (np.concatenate(([0.0], known.risks))[chosen] > bound).sum() > 2 * MOST_FAILURES


@pytest.mark.parametrize("bound", [0.02, 0.05])
def test_conformal_risk_control_bounds_the_mean(bound: float) -> None:
    known = Known(real=True)
    swings = known.losses * np.random.default_rng(2).uniform(0.5, 1, size=known.losses.shape)  # falls now and then
    losses = monotone(swings)
    assert (np.diff(swings, axis=0) < 0).any() and (np.diff(losses, axis=0) >= 0).all()
    assert (losses >= swings).all()
    for examples in (100, 1500):
        chosen = certified_prefix(ExpectationBound(bound).passes(totals(draw(examples, seed=3), losses), examples))
        risks = np.concatenate(([0.0], losses.mean(axis=1)))[chosen]
        assert risks.mean() <= bound + 3 * risks.std() / DRAWS**0.5
    best = int((losses.mean(axis=1) <= bound).sum())
    assert saved(known.costs, chosen) >= 0.9 * saved(known.costs, np.array([best]))


def test_conformal_risk_control_bounds_the_mean_alone() -> None:
    """In nearly half of the draws the risk that was chosen passes the bound; of a bound with confidence, in few."""
    known, bound, sums = Known(), 0.05, totals(draw(500, seed=3), Known().losses)
    risks = np.concatenate(([0.0], known.risks))
    tests = ExpectationBound(bound), BinomialTest(bound, CONFIDENCE)
    in_expectation, confident = (risks[certified_prefix(test.passes(sums, 500))] for test in tests)
    assert in_expectation.mean() <= bound and 0.4 < (in_expectation > bound).mean() < 0.55
    assert (confident > bound).sum() <= MOST_FAILURES


def test_pareto_testing_over_two_criteria() -> None:
    """The front and its order come from one draw, the test from another; the better criterion is found."""
    bound, sharp, noisy = 0.02, Known(), Known(noise=0.3)
    losses, costs = np.concatenate([noisy.losses, sharp.losses]), np.concatenate([noisy.costs, sharp.costs])
    held_out, calibration = draw(500, seed=4), draw(1500, seed=5)
    front_risks, front_costs = totals(held_out, losses) / 500, totals(held_out, costs) / 500
    sums = totals(calibration, losses)
    passes = BinomialTest(bound, CONFIDENCE).passes(sums, 1500)
    risks, chosen = losses.mean(axis=1), []
    for risk, cost, good in zip(front_risks, front_costs, passes, strict=True):
        chain = pareto_chain(risk, np.zeros(len(risk)), cost)
        count = int(certified_prefix(good[chain]))
        chosen.append(int(chain[count - 1]) + 1 if count else 0)
    assert (np.concatenate(([0.0], risks))[chosen] > bound).sum() <= MOST_FAILURES
    fitting = np.flatnonzero(risks <= bound)
    best = 1 + int(fitting[np.argmin(costs.mean(axis=1)[fitting])])
    assert best > THRESHOLDS  # it is a point of the sharper criterion
    assert saved(costs, np.array(chosen)) >= 0.75 * saved(costs, np.array([best]))


def test_the_front_by_hand() -> None:
    risk = np.array([0.0, 0.0, 0.0, 0.2, 0.1, 0.1])
    ties = np.array([0.0, 0.3, 0.1, 0.0, 0.5, 0.6])
    cost = np.array([9.0, 5.0, 7.0, 6.0, 3.0, 4.0])
    # 3 costs more than 1 at a higher risk, 5 more than 4; of equal risks the smoother loss goes first.
    assert pareto_chain(risk, ties, cost).tolist() == [0, 2, 1, 4]


def test_without_points_there_is_no_chain() -> None:
    none = np.zeros(0)
    assert pareto_chain(none, none, none).tolist() == cost_chain([], none, none, 0.1).tolist() == []


def test_the_chain_of_one_criterion_by_hand() -> None:
    families = ["a", "b", "a", "b"]
    risk, cost = np.array([0.0, 0.0, 0.1, 0.3]), np.array([9.0, 8.0, 4.0, 2.0])
    assert cost_chain(families, risk, cost, 0.1).tolist() == [0, 2]
    assert cost_chain(families, risk, cost, 0.3).tolist() == [1, 3]
    assert cost_chain(families, risk + 0.5, cost, 0.1).tolist() == [0, 2]  # none fits: the one with the least risk


def test_the_first_failure_ends_the_sequence() -> None:
    passes = np.array([[True, True, False, True], [False, True, True, True], [True, True, True, True]])
    assert certified_prefix(passes).tolist() == [2, 0, 4]


def test_conformal_risk_control_by_hand() -> None:
    # n / (n + 1) mean + 1 / (n + 1): (1 + 1) / 100 and (0 + 1) / 100
    assert ExpectationBound(0.02).passes(np.array([1.0, 1.1, 0.0]), 99).tolist() == [True, False, True]
