"""Every exit criterion in the table keeps its promises."""

import math

import pytest
import torch

from eat.exits import EXITS, ThresholdExit, build_exit
from eat.exits import check_exit as check_outputs
from eat.testing import check_exit

RATIO = [-0.1, 1.1, math.nan, True, "0.1"]


def refused(name):
    """Values out of range."""
    part = EXITS[name]
    if not issubclass(part, ThresholdExit):
        return {}
    if not part.needs_classes:
        return {"threshold": [-0.1, True, [0.1]], "patience": [0, -1, 1.0, True]}
    wrong = {"threshold": [*RATIO, [], [0.5, 2.0]], "veto_margin": [*RATIO, [0.1]]}
    return wrong | ({"patience": [0, -1, 1.0, True]} if "patience" in part.__dataclass_fields__ else {})


@pytest.mark.parametrize("name", sorted(EXITS))
def test_exit(name):
    checked = check_exit(name, refused=refused(name))
    assert not checked.left_out and checked.examples > 0


@pytest.mark.parametrize("name", ["patience", "patience_confidence", "difference"])
def test_exit_with_patience(name):
    check_exit(name, {"patience": 2}, trials=5)


def test_only_never_never_lets_go():
    assert [name for name in EXITS if not build_exit({"name": name}).active] == ["never"]


@pytest.mark.parametrize("name", ["confidence", "patience_confidence", "entropy", "margin", "agreement"])
def test_unsure_stays(name):  # for the others it is enough that heads say the same
    unsure = torch.tensor([0.1, 0.0, 0.05]).expand(3, 2, 3)
    assert build_exit({"name": name})(unsure).tolist() == [False, False]


@pytest.mark.parametrize("name", sorted(name for name, part in EXITS.items() if part.needs_classes))
def test_as_many_thresholds_as_classes(name):
    criterion = build_exit({"name": name, "threshold": [0.8, 0.9]})
    check_outputs(criterion, 2)
    message = r"exit\.threshold: expected a number, or one for each of the 3 classes, got 2: \[0\.8, 0\.9\]"
    with pytest.raises(ValueError, match=message):
        criterion(torch.randn(3, 4, 3))
    with pytest.raises(ValueError, match=message):
        check_outputs(criterion, 3)
