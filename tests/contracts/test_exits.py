"""What every exit criterion in the table promises."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.exits import EXITS, ThresholdExit, build_exit, check_exit
from tests.reference.unchecked import unchecked

every_exit = pytest.mark.parametrize("name", sorted(EXITS))
every_threshold = pytest.mark.parametrize(
    "name", sorted(name for name, part in EXITS.items() if issubclass(part, ThresholdExit) and part.needs_classes)
)


def history_of(name, heads, batch, classes=3, seed=0):
    """Random answers of the kind that the criterion reads."""
    generator = torch.Generator().manual_seed(seed)
    outputs = 1 if EXITS[name].needs_score else classes
    return 2 * torch.randn(heads, batch, outputs, generator=generator, dtype=torch.float64)


@every_exit
def test_all_but_one_exit_and_none_needs_both_classes_and_a_score(name):
    criterion = build_exit({"name": name})
    assert criterion.active == (name != "never")
    assert not (criterion.needs_classes and criterion.needs_score)


@every_exit
@given(
    heads=st.integers(1, 5),
    batch=st.integers(1, 6),
    classes=st.integers(2, 4),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_each_example_is_judged_alone(name, heads, batch, classes, seed, data):
    criterion, history = build_exit({"name": name}), history_of(name, heads, batch, classes, seed)
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
    assert build_exit({"name": name})(history_of(name, 3, 4).to(dtype)).shape == (4,)


def sure(name):
    """Three heads that say the same with all confidence, of two examples."""
    return torch.tensor([50.0] if EXITS[name].needs_score else [50.0, -50.0, -50.0]).expand(3, 2, -1)


@every_exit
def test_sure_leaves_unless_nobody_does(name):
    assert build_exit({"name": name})(sure(name)).tolist() == [name != "never"] * 2


@pytest.mark.parametrize("name", ["confidence", "patience_confidence", "entropy", "margin", "agreement"])
def test_unsure_stays(name):  # for the others it is enough that heads say the same
    unsure = torch.tensor([0.1, 0.0, 0.05]).expand(3, 2, 3)
    assert build_exit({"name": name})(unsure).tolist() == [False, False]


@every_threshold
@given(
    heads=st.integers(1, 4),
    classes=st.integers(2, 4),
    seed=st.integers(0, 100),
    veto_margin=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_a_veto_keeps_those_with_a_low_margin_and_heads_that_differ(name, heads, classes, seed, veto_margin):
    history = history_of(name, heads, 8, classes, seed)
    free = build_exit({"name": name})(history)
    leave = build_exit({"name": name, "veto_margin": veto_margin})(history)
    top = history[-1].softmax(-1).sort(-1).values
    for i in range(8):
        agree = heads > 1 and len(set(history[:, i].argmax(-1).tolist())) == 1
        allowed = agree or bool(top[i, -1] - top[i, -2] >= veto_margin)
        assert bool(leave[i]) == (bool(free[i]) and allowed)


@every_threshold
@pytest.mark.parametrize("veto_margin", [-0.1, 1.1, math.nan, True, "0.1", [0.1]])
def test_bad_veto_margin(name, veto_margin):
    with pytest.raises(ValueError, match=r"exit\.veto_margin: expected a number in \[0, 1\], got"):
        unchecked(EXITS[name], veto_margin=veto_margin)


@every_exit
@pytest.mark.parametrize("broken", [slice(None), 0, -1])
def test_nan_never_leaves_early(name, broken):
    answers = sure(name).clone()
    answers[-1, 0, broken] = math.nan
    assert build_exit({"name": name})(answers).tolist() == [False, name != "never"]
    answers[:, 0, broken] = math.nan
    assert build_exit({"name": name})(answers).tolist() == [False, name != "never"]


@every_threshold
@given(heads=st.integers(1, 4), classes=st.integers(2, 4), seed=st.integers(0, 100), data=st.data())
def test_a_threshold_per_class_is_that_of_the_predicted_class(name, heads, classes, seed, data):
    thresholds = data.draw(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), min_size=classes, max_size=classes))
    history = history_of(name, heads, 6, classes, seed)
    leave = build_exit({"name": name, "threshold": thresholds})(history)
    for i, predicted in enumerate(history[-1].argmax(-1).tolist()):
        one = build_exit({"name": name, "threshold": thresholds[predicted]})
        assert torch.equal(one(history)[i], leave[i])


@every_threshold
def test_as_many_thresholds_as_classes(name):
    criterion = build_exit({"name": name, "threshold": [0.8, 0.9]})
    check_exit(criterion, 2)
    message = r"exit\.threshold: expected a number, or one for each of the 3 classes, got 2: \[0\.8, 0\.9\]"
    with pytest.raises(ValueError, match=message):
        criterion(history_of(name, 3, 4, classes=3))
    with pytest.raises(ValueError, match=message):
        check_exit(criterion, 3)


@every_exit
def test_it_refuses_what_it_cannot_read(name):
    criterion = build_exit({"name": name})
    for num_outputs, refused in ((1, criterion.needs_classes), (3, criterion.needs_score)):
        if refused:
            with pytest.raises(ValueError, match=rf"exit\.name: '{name}' needs .* num_labels={num_outputs}"):
                check_exit(criterion, num_outputs)
        else:
            check_exit(criterion, num_outputs)
