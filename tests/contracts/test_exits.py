"""What every exit criterion in the table promises."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.exits import EXITS, ExitCriterion, build_exit

every_exit = pytest.mark.parametrize("name", sorted(EXITS))


def history_of(heads, batch, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(heads, batch, classes, generator=generator, dtype=torch.float64)


@every_exit
def test_it_is_an_exit_criterion(name):
    criterion = build_exit({"name": name})
    assert isinstance(criterion, ExitCriterion)
    assert criterion.active == (name != "never")
    assert isinstance(criterion.needs_classes, bool)


@every_exit
@given(
    heads=st.integers(1, 5),
    batch=st.integers(1, 6),
    classes=st.integers(2, 4),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_each_example_is_judged_alone(name, heads, batch, classes, seed, data):
    criterion, history = build_exit({"name": name}), history_of(heads, batch, classes, seed)
    before = history.clone()
    leave = criterion(history)
    assert leave.dtype == torch.bool and leave.shape == (batch,)
    assert torch.equal(history, before), "it only reads"
    assert torch.equal(criterion(history), leave)
    order = data.draw(st.permutations(range(batch)))
    assert torch.equal(criterion(history[:, list(order)]), leave[list(order)])
    for i in range(batch):
        assert torch.equal(criterion(history[:, i : i + 1]), leave[i : i + 1])


@every_exit
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision(name, dtype):
    assert build_exit({"name": name})(history_of(3, 4).to(dtype)).shape == (4,)


@every_exit
def test_sure_leaves_unless_nobody_does(name):
    sure = torch.tensor([50.0, -50.0, -50.0]).expand(3, 2, 3)
    assert build_exit({"name": name})(sure).tolist() == [name != "never"] * 2


@pytest.mark.parametrize("name", sorted(EXITS.keys() - {"patience"}))  # heads that agree are enough for patience
def test_unsure_stays(name):
    unsure = torch.tensor([0.1, 0.0, 0.05]).expand(3, 2, 3)
    assert build_exit({"name": name})(unsure).tolist() == [False, False]
