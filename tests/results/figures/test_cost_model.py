"""EAT's cost model is recovered from costs that follow it, and its error is said where they do not."""

import numpy as np
import pytest

from eat.results.figures.cost_model import fit_cost_model
from eat.results.figures.costs import counted_costs, measured_costs, tokens_read
from eat.suite.records import TABLE
from tests.made.evidence import make_evidence

LENGTHS = np.array([4, 10, 40, 100, 300])
TOKENS = np.stack([LENGTHS, LENGTHS * 7 // 10, np.where(LENGTHS > 20, LENGTHS // 2, 0)], axis=1)


@pytest.mark.parametrize("window", [32, None])
def test_known_coefficients_are_recovered(window):
    alpha, alpha_adaptive, beta = 0.25, 0.5, 30.0
    dense = 3 * (alpha * LENGTHS**2.0 + beta * LENGTHS)
    pairs = TOKENS * (window or TOKENS)
    adaptive = (alpha_adaptive * pairs + beta * TOKENS).sum(axis=1)
    fit = fit_cost_model(LENGTHS, 3, dense, TOKENS, window, adaptive)
    assert (fit.alpha, fit.alpha_adaptive, fit.beta) == pytest.approx((alpha, alpha_adaptive, beta), rel=1e-6)
    assert fit.dense == pytest.approx(dense) and fit.adaptive == pytest.approx(adaptive)
    assert max(fit.dense_error, fit.adaptive_error) < 1e-9


def test_a_cost_that_the_model_lacks_is_an_error_and_no_coefficient_is_negative():
    call = 1000.0  # of each call, whatever its length
    dense = 3 * 30.0 * LENGTHS + call
    adaptive = 30.0 * TOKENS.sum(axis=1) + call
    fit = fit_cost_model(LENGTHS, 3, dense, TOKENS, 32, adaptive)
    assert min(fit.alpha, fit.alpha_adaptive, fit.beta) >= 0
    assert fit.dense_error == pytest.approx(np.mean(np.abs(fit.dense - dense) / dense))
    assert fit.adaptive_error > 0.1


@pytest.mark.parametrize("costs", [np.zeros(5), np.empty(0)])
def test_costs_that_are_not_above_0_are_refused(costs):
    with pytest.raises(ValueError, match="costs: expected at least one of each encoder, all above 0"):
        fit_cost_model(LENGTHS[: len(costs)], 3, costs, TOKENS, 32, np.ones(5))


def test_counted_flops_follow_it_up_to_heads():
    """A block of the tiny model (dim 32, intermediate 64) counts 4 d per pair and 2 (4 d^2 + 2 d i) per token."""
    costs = counted_costs(make_evidence())
    assert costs.fit.alpha * 1e9 == pytest.approx(4 * 32, rel=0.2)
    assert costs.fit.beta * 1e9 == pytest.approx(2 * (4 * 32**2 + 2 * 32 * 64), rel=0.05)
    assert costs.dense.error < 0.01 and costs.adaptive.error < 0.06
    assert costs.dense.cost == pytest.approx(costs.dense.predicted, rel=0.02)


def test_blocks_read_what_the_one_before_kept():
    assert tokens_read(np.array([[9, 6, 4, 0], [5, 0, 0, 0]])).tolist() == [[9, 6, 4], [5, 0, 0]]


def curve(contender, length, ms, **more):
    facts = {"part": "curves", "shape": "minilm", "batch_size": 1, "dtype": "float32", "threads": 2, "device": "cpu"}
    return TABLE.row(**(facts | {"contender": contender, "length": length, "latency_ms_p50": ms} | more))


def test_measured_times_are_fitted_with_the_tokens_of_the_suites_pruning():
    lengths = [10, 100, 1000]
    kept = {10: [10, 10, 8, 8, 6, 6], 100: [100, 100, 71, 71, 50, 50], 1000: [1000, 1000, 701, 701, 491, 491]}
    rows = [curve("eat_all_off", n, 6 * (1e-6 * n**2 + 1e-2 * n)) for n in lengths]
    rows += [curve("eat_windowed32_pruned", n, (2e-6 * 32 + 1e-2) * sum(kept[n])) for n in lengths]
    rows += [curve("eat_all_off", 10, 99.0, batch_size=8), curve("eat_all_off", 10, 99.0, shape="bert_base")]
    costs = measured_costs(rows)
    assert (costs.fit.alpha, costs.fit.alpha_adaptive, costs.fit.beta) == pytest.approx((1e-6, 2e-6, 1e-2), rel=1e-6)
    assert costs.adaptive.lengths.tolist() == lengths
    assert measured_costs(rows[:3]) is None
    assert measured_costs([]) is None
