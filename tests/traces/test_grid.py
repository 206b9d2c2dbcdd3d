"""Many operating points at once: the same decisions as one by one, and as the live encoder makes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eat.exits import EXITS, build_exit
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces import grid
from eat.traces.grid import exit_heads, measure_grid
from eat.traces.quality import measure_point
from eat.traces.record import record_trace
from eat.traces.replay import exit_head
from eat.traces.trace import Trace
from tests.made.models import TASK, make_batches, make_model

FOR_CLASSES = [name for name, part in EXITS.items() if not part.needs_score]


def random_points(count: int, seed: int = 0) -> list[OperatingPoint]:
    """Draw operating points of every criterion: single thresholds, one per class, every patience."""
    generator = np.random.default_rng(seed)
    specs: list[dict[str, Any]] = []
    for i in range(count):
        spec: dict[str, Any] = {"name": FOR_CLASSES[i % len(FOR_CLASSES)]}
        if spec["name"] != "never":
            spec["threshold"] = generator.random(2).tolist() if i % 3 == 0 else float(generator.random())
            if i % 4 == 0:
                spec["veto_margin"] = float(generator.random())
        if "patience" in spec["name"]:
            spec["patience"] = int(generator.integers(1, 4))
        specs.append(spec)
    specs += [{"name": "patience", "patience": 1}, {"name": "patience", "patience": 2}]
    return [OperatingPoint.of(spec) for spec in specs]


def test_all_at_once_decide_as_one_by_one(trace: Trace) -> None:
    specs = random_points(160)
    for spec, heads in zip(specs, exit_heads(trace, specs), strict=True):
        np.testing.assert_array_equal(heads, exit_head(trace, spec.build()), err_msg=spec.label)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_with_the_threshold_decide_alike(dtype: torch.dtype) -> None:
    traced = record_trace(make_model(dtype), make_batches(), TASK)
    history = torch.from_numpy(traced.all_logits).transpose(0, 1)
    for name in ("confidence", "entropy", "margin", "agreement"):
        criterion: Any = build_exit({"name": name})
        scores = criterion.score(history[:2]).clamp(0, 1).tolist()
        specs = OperatingPoint.of({"name": name}).at(scores)
        for spec, heads in zip(specs, exit_heads(traced, specs), strict=True):
            np.testing.assert_array_equal(heads, exit_head(traced, spec.build()), err_msg=spec.label)


def test_long_splits_are_taken_in_pieces(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = random_points(60)
    whole = exit_heads(trace, specs)
    monkeypatch.setattr(grid, "MAX_COMPARISONS", 2 * len(trace))
    np.testing.assert_array_equal(exit_heads(trace, specs), whole)


def test_points_are_measured_as_one_by_one(trace: Trace) -> None:
    specs = random_points(40)
    measured = measure_grid(trace, specs)
    for i, spec in enumerate(specs):
        point = measure_point(trace, spec)
        assert measured.points[i] == spec
        assert measured.values[i] == point.metrics["accuracy"]
        assert measured.avg_depth[i] == point.avg_depth
        assert measured.flops_ratio[i] == pytest.approx(point.flops_ratio, rel=1e-12)
    assert len(set(measured.flops_ratio)) > 10


def test_fifty_points_equal_the_live_encoder(model: AdaptiveForSequenceClassification, trace: Trace) -> None:
    specs = random_points(48, seed=1)
    assert len(specs) == 50
    depths = np.asarray(trace.head_depths)
    for spec, heads in zip(specs, exit_heads(trace, specs), strict=True):
        model.set_exit(**spec.spec)
        with torch.inference_mode():
            live = [model(batch["input_ids"], lengths=batch["lengths"]) for batch in make_batches()]
        exit_depth = torch.cat([output.exit_depth for output in live]).numpy()
        np.testing.assert_array_equal(depths[heads], exit_depth, err_msg=spec.label)


def test_regression(made_trace: Callable[..., Trace]) -> None:
    scores = made_trace([[[1.0], [1.05], [4.0]], [[1.0], [2.0], [2.01]]], [1.0, 2.0], (1, 2, 3))
    specs = [OperatingPoint.of({"name": "difference", "patience": 1, "threshold": t}) for t in (0.0, 0.1, 1.5)]
    assert exit_heads(scores, [FULL_DEPTH, *specs]).tolist() == [[2, 2], [2, 2], [1, 2], [1, 1]]
    with pytest.raises(ValueError, match="needs class probabilities"):
        exit_heads(scores, [OperatingPoint.of({"name": "confidence"})])


def test_one_bad_point_is_named(trace: Trace) -> None:
    plain = OperatingPoint.of({"name": "confidence"})
    with pytest.raises(ValueError, match="one for each of the 2 classes, got 3"):
        exit_heads(trace, [plain, plain.changed({"threshold": [0.1, 0.2, 0.3]})])
