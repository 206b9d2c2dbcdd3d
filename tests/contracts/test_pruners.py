"""Every pruner in the table keeps its promises."""

import pytest

from eat.pruners import PRUNERS, build_pruner
from eat.testing import check_pruner
from eat.testing.pruners import draw_state

RANKED = {
    "depths": [[0], [2, 1], [1, 1], [1.0], [True], 2],
    "ratio": [-0.1, 1.0, True, [0.1], [0.1, 1.5]],
    "min_tokens": [-1, 1.0, True],
    "min_retention": [-0.1, 1.1, True, [0.5]],
}
REFUSED = {"l2_norm": RANKED, "attention_received": RANKED, "random": RANKED | {"seed": [1.0, True]}}


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_pruner(name):
    checked = check_pruner(name, refused=REFUSED.get(name))
    assert not checked.left_out and checked.examples > 0


@pytest.mark.parametrize(
    "arguments", [{"depths": [1, 2], "ratio": [0.2, 0.6], "min_tokens": 3}, {"min_retention": 0.7}]
)
@pytest.mark.parametrize("name", sorted(PRUNERS.keys() - {"none"}))
def test_pruner_with_other_arguments(name, arguments):
    check_pruner(name, arguments, trials=4)


@pytest.mark.parametrize("name", sorted(PRUNERS.keys() - {"none", "random"}))  # whose scores depend on the position
def test_equal_scores_keep_the_earlier(name):
    state = draw_state([8], 0, equal=True)
    keep = build_pruner({"name": name, "depths": [2], "ratio": 0.5})(state, 2)
    others = keep[~state.protected].tolist()
    assert others == sorted(others, reverse=True) and not all(others)


@pytest.mark.parametrize("name", sorted(PRUNERS.keys() - {"none"}))
def test_ratio_zero_keeps_all(name):
    assert build_pruner({"name": name, "depths": [2], "ratio": 0.0})(draw_state([9, 5], 0, equal=False), 2).all()
