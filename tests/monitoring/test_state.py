"""A guard's state: a restarted service goes on with its test, and a broken state is refused."""

import copy
import json

import pytest

from eat.monitoring import DriftGuard
from tests.made.guarded import NEVER, fire, padded
from tests.made.models import make_batches


def test_a_restarted_service_goes_on_with_its_test(model):
    batches = make_batches(120, 20, seed=8)
    whole, first = DriftGuard(model), DriftGuard(model)
    for batch in batches:
        whole(*padded(batch))
    for batch in batches[:3]:
        first(*padded(batch))
    second = DriftGuard(model, seed=7)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for batch in batches[3:]:
        second(*padded(batch))
    assert second.report() == whole.report() and second.prometheus() == whole.prometheus()
    fire(second)
    third = DriftGuard(model)
    third.load_state_dict(second.state_dict())
    assert third.fired == ("default",)


def test_a_state_of_another_guard_is_refused(model):
    state = DriftGuard(model).state_dict()
    with pytest.raises(ValueError, match=r"state\['false_alarm'\]: expected this guard's 0.05, got 0.01"):
        DriftGuard(model, false_alarm=0.05).load_state_dict(state)
    with pytest.raises(ValueError, match=r"state\['exits'\]: expected"):
        DriftGuard(model, sources={"web": NEVER}).load_state_dict(state)
    with pytest.raises(ValueError, match=r"state\['model'\]: expected .* got 'abc'"):
        DriftGuard(model).load_state_dict(state | {"model": "abc"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("watches"), r"state\['watches'\]: expected .* \['default', 'web'\], got None"),
        (lambda state: state["watches"].pop("web"), r"state\['watches'\]: .* \['default', 'web'\], got \['default'\]"),
        (lambda state: state["watches"]["web"].pop("sums"), r"state\['watches'\]\['web'\]: state: .* 'sums', .*, got"),
        (
            lambda state: state["watches"]["web"].update(histogram=[[1]]),
            r"\['web'\]: histogram: expected .* shape \(4, 64\), got shape \(1, 1\)",
        ),
        (lambda state: state["watches"]["web"].update(sums=[1.0]), r"sums: .* \(4,\), got shape \(1,\)"),
        (
            lambda state: state["watches"]["web"].update(recent=[1]),
            r"recent: .* \(4, None\), got shape \(1,\)",
        ),
        (lambda state: state["watches"]["web"].update(recent=[[64]] * 4), r"recent: .* below 64, got 64"),
        (lambda state: state["watches"]["default"].update(test=None), r"\['default'\]: test: expected .*, got None"),
        (
            lambda state: state["watches"]["default"]["test"].update(wealth=[[1.0]]),
            r"wealth: .* shape \(4, 3, 9\), got shape \(1, 1\)",
        ),
    ],
    ids=["watches", "source", "key", "histogram", "sums", "recent", "bins", "test", "wealth"],
)
def test_a_broken_state_is_refused_whole(model, batch, spoil, message):
    guard, other = (DriftGuard(model, sources={"web": NEVER}) for _ in range(2))
    guard(*padded(batch), source=["default", "web"] * 8)
    before = copy.deepcopy(guard.state_dict())
    state = other.state_dict()
    spoil(state)
    with pytest.raises(ValueError, match=message):
        guard.load_state_dict(state)
    assert guard.state_dict() == before
