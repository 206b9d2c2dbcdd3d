"""Contenders are one model or they are not: logits beside those with everything off, near-ties counted apart."""

import numpy as np
import pytest

from eat.benchmark.agreement import ROUNDING, another_model, compare_with_all_off, rounding_of, warn_of_others
from eat.benchmark.contenders import ALL_OFF, PADDED
from eat.benchmark.engines import EAT
from eat.benchmark.results import Benchmark, Comparison, Measurement

INT8 = "onnxruntime_int8"
LOGITS = np.array([[0.0, 1.0], [0.5, 0.50015], [2.0, -8.0], [-1.0, 1.0]])


def compared(ours: np.ndarray, logits: np.ndarray = LOGITS) -> Comparison:
    return compare_with_all_off({ALL_OFF: logits, PADDED: ours}, 1e-5)[PADDED]


def test_rounding_is_one_model() -> None:
    found = compared(LOGITS + 5e-5)
    assert (found.examples, found.tolerance, found.differ, found.same) == (4, pytest.approx(8e-5), 0, True)
    assert found.difference == pytest.approx(5e-5)


def test_labels_that_rounding_cannot_tell_are_counted_apart() -> None:
    turned = LOGITS.copy()
    turned[1] = [0.50008, 0.50007]
    found = compared(turned)
    assert (found.differ, found.near_ties, found.same) == (1, 1, True)
    turned[3] = [1.0, -1.0]
    found = compared(turned)
    assert (found.differ, found.near_ties, found.same) == (2, 1, False)


def test_equal_labels_do_not_make_one_model() -> None:
    found = compared(LOGITS * 1.1)
    assert (found.differ, found.same) == (0, False)
    assert not compared(np.full_like(LOGITS, np.nan)).same


def test_scores_of_a_regression_have_no_labels() -> None:
    scores = np.array([[1.0], [2.0]])
    assert compared(scores + 1e-6, scores).same
    found = compared(scores[::-1], scores)
    assert (found.differ, found.same) == (0, False)


def test_rounding_follows_the_type_and_the_machine() -> None:
    assert rounding_of({"dtype": "float32"}) == rounding_of({"dtype": "float32", "tf32": False}) == ROUNDING["float32"]
    assert rounding_of({"dtype": "float32", "tf32": True}) == ROUNDING["tf32"]
    assert rounding_of({"dtype": "bfloat16", "tf32": True}) == ROUNDING["bfloat16"]


def test_exact_engines_are_warned_of_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_others({PADDED: compared(LOGITS), INT8: compared(-LOGITS), "confidence threshold=0.9": compared(-LOGITS)})
    assert caplog.messages == []
    warn_of_others({PADDED: compared(-LOGITS)})
    (said,) = caplog.messages
    assert said.startswith(f"{PADDED} is another model than ours with everything off: logits within ")


def benchmark(name: str, engine: str, **facts: object) -> tuple[Benchmark, Measurement]:
    ratios = {PADDED: (1.0, 1.0, 1.0), ALL_OFF: (1.0, 1.0, 1.0)}
    one = Measurement(
        contender=name,
        engine=engine,
        exit=None,
        examples=4,
        latency_ms=(1.0, 1.0, 1.0),
        examples_per_s=1.0,
        speedup=ratios,
        batch_size=1,
        threads=1,
    )
    return Benchmark({}, {}, (one,), **facts), one  # type: ignore[arg-type]


def test_what_older_versions_measured_is_judged_by_what_they_exported() -> None:
    agreed, one = benchmark(PADDED, PADDED, agreement={PADDED: (4, 4)})
    assert another_model(agreed, one, "cls") is None
    assert str(another_model(agreed, one, "mean")).startswith("another model: it read [CLS], this one's last head")
    unequal, one = benchmark(PADDED, PADDED, agreement={PADDED: (3, 4)})
    assert another_model(unequal, one, "cls") == "another model: 1 of 4 labels differ"


def test_int8_and_ours_are_no_baselines_of_the_same_function() -> None:
    for name, engine in ((INT8, INT8), (ALL_OFF, EAT), ("first_2_layers", EAT)):
        found, one = benchmark(name, engine, beside_all_off={name: compared(-LOGITS)})
        assert another_model(found, one, "mean") is None


def test_a_comparison_is_what_counts_where_there_is_one() -> None:
    found, one = benchmark(PADDED, PADDED, beside_all_off={PADDED: compared(LOGITS)}, agreement={PADDED: (3, 4)})
    assert another_model(found, one, "mean") is None
    found, one = benchmark(PADDED, PADDED, beside_all_off={PADDED: compared(-LOGITS)}, agreement={PADDED: (4, 4)})
    assert "logits within 2e+01, 4 of 4 labels differ (1 near-ties)" in str(another_model(found, one, "cls"))
