"""Traces by role: what is there, and one clear message for what is missing."""

from collections.abc import Callable

import numpy as np
import pytest

from eat.traces.run_traces import RunTraces
from eat.traces.trace import Trace
from tests.made.models import make_model

LOGITS = np.arange(12.0).reshape(3, 2, 2)


@pytest.fixture
def traces(made_trace: Callable[..., Trace]) -> RunTraces:
    config = make_model(head_depths=[2]).config.to_dict()

    def make(split: str, *, reported: bool, shift: float = 0.0) -> Trace:
        facts = {"split": split, "reported": reported, "config": config, "fingerprint": "abc"}
        return made_trace(LOGITS + shift, [0, 1, 0], (2, 3), metadata=facts)

    every = {
        "threshold": make("threshold", reported=False),
        "validation": make("validation", reported=True),
        "test": make("test", reported=True),
        "validation.all_off": make("validation", reported=True, shift=1.0),
    }
    return RunTraces.of("mine", every)


def test_roles(traces: RunTraces) -> None:
    assert list(traces.splits) == ["threshold", "validation", "test"]
    assert traces.main == "validation"
    assert traces.reported is traces.splits["validation"]
    assert traces.all_off["validation"] is not traces.reported
    assert traces.all_off["test"] is traces.splits["test"]  # nothing was on: the run's own
    assert traces.need("threshold", "plan") is traces.get("threshold")
    assert traces.has_early_heads
    assert traces.fingerprint == "abc"


def test_a_missing_split_is_named_with_the_way_to_have_one(traces: RunTraces) -> None:
    assert traces.get("certification") is None
    message = (
        r"certify: expected a certification split, mine has \['test', 'threshold', 'validation'\]; .*examples above 0"
    )
    with pytest.raises(ValueError, match=message):
        traces.need("certification", "certify")


def test_other_examples_are_refused(traces: RunTraces, made_trace: Callable[..., Trace]) -> None:
    other = made_trace(LOGITS, [1, 1, 1], (2, 3))
    with pytest.raises(ValueError, match=r"baseline_run: its trace must answer the same 3 examples of 'validation'"):
        traces.same_examples("validation", other, "baseline_run")
    with pytest.raises(ValueError, match=r"it has the splits"):
        traces.same_examples("elsewhere", other, "baseline_run")
    assert traces.same_examples("validation", traces.reported, "x", all_off=True) is traces.all_off["validation"]


def test_what_follows_from_a_trace_is_made_once(traces: RunTraces) -> None:
    trace = traces.reported
    assert trace.costs is trace.costs
    np.testing.assert_array_equal(trace.full_depth, trace.all_logits[:, -1])
    divided = trace.divided([2.0, 1.0])
    assert divided.raw is trace
    assert trace.raw is trace
    assert divided.costs is not trace.costs


def test_with_nothing_held_out_thresholds_are_chosen_on_the_reported_split_and_nothing_is_certified(
    traces: RunTraces,
) -> None:
    reported = {name: trace for name, trace in traces.files.items() if not name.startswith("threshold")}
    papers = RunTraces.of("papers", reported, chooses_on_reported=True)
    assert papers.need("threshold", "sweep") is papers.reported
    assert papers.calibrated(None).need("threshold", "sweep") is not None
    assert "holdout=none" in papers.thresholds_from
    assert traces.thresholds_from == "the threshold split"
    with pytest.raises(ValueError, match=r"expected a certification split.*train with holdout=standard"):
        papers.need("certification", "certify")
    assert RunTraces.of("other", reported).get("threshold") is None
