"""Every objective in the table, and every preset of conf, keeps its promises."""

import math

import pytest
import torch

from eat.registry import build_part
from eat.testing import check_objective
from eat.testing.objectives import draw_examples
from eat.training.objectives import OBJECTIVES
from tests.training.made import CONF, read_conf

WEIGHT = [-0.1, math.inf, True]
REFUSED = {
    "early_weight": WEIGHT,
    "final_weight": WEIGHT,
    "self_weight": WEIGHT,
    "teacher_weight": WEIGHT,
    "temperature": [0.0, -1.0],
    "class_weights": [[1.0, -1.0, 1.0], [math.inf, 1.0, 1.0], "balanced"],
    "focal_gamma": [-0.5, math.inf, True],
    "stage": [0.0, 1.0, 2.0],
}


def teach(batch):
    """A teacher that is sure of the label."""
    labels = batch["labels"]
    if labels.ndim == 2 and labels.shape[1] == 3:
        return 8.0 * labels - 4.0
    labels = labels.reshape(-1)
    return labels.unsqueeze(1) if labels.is_floating_point() else 4.0 * torch.nn.functional.one_hot(labels, 3)


def arguments(preset):
    """The preset's own values, on those of the one that it starts from."""
    values = read_conf(f"objective/{preset}")
    starts_from = [entry for entry in values.pop("defaults", []) if entry != "_self_"]
    values = {**(arguments(starts_from[0]) if starts_from else {}), **values}
    return values | ({"teacher": teach} if values.get("teacher") == "???" else {})


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONF / "objective").glob("*.yaml")))
def test_objective(preset):
    values = arguments(preset)
    assert not check_objective(values, refused={key: REFUSED[key] for key in values if key in REFUSED}).left_out


@pytest.mark.parametrize("preset", sorted(OBJECTIVES))
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_objective_with_class_weights_and_focal_loss(preset, gamma):
    values = arguments(preset) | {"focal_gamma": gamma}
    built = build_part("objective", OBJECTIVES, values | {"class_weights": [0.5, 1.0, 3.0]})
    plain = build_part("objective", OBJECTIVES, values)
    phase = built.phase(0, 10, (1, 3, 6))
    all_logits, batch = draw_examples(3, len(phase.head_depths), seed=1)
    batch["labels"] = torch.full_like(batch["labels"], 2)
    weighted, unweighted = (one(all_logits, batch, phase)[1]["supervised"] for one in (built, plain))
    torch.testing.assert_close(weighted, 3 * unweighted)


def test_every_objective_has_a_preset():
    assert {read_conf(f"objective/{path.stem}").get("name") for path in (CONF / "objective").glob("*.yaml")} >= set(
        OBJECTIVES
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "two_stages"}, r"objective.name: expected one of .* \(did you mean 'two_stage'\?\)"),
        ({"name": "two_stage", "stages": 0.5}, r"objective.stages: .* \(did you mean 'stage'\?\)"),
    ],
)
def test_a_misspelt_name_or_argument_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        check_objective(spec)
