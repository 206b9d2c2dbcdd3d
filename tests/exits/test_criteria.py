"""Each criterion against its definition, at and around the threshold."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.exits import EXITS, build_exit
from eat.exits.agreement import AgreementExit
from eat.exits.confidence import ConfidenceExit
from eat.exits.difference import DifferenceExit
from eat.exits.entropy import EntropyExit
from eat.exits.entropy_reduction import EntropyReductionExit
from eat.exits.margin import MarginExit
from eat.exits.never import NeverExit
from eat.exits.patience import PatienceExit
from eat.exits.patience_confidence import PatienceConfidenceExit
from tests.reference.masked import exit_decision
from tests.reference.unchecked import unchecked


def logits_of(*probabilities):
    return torch.log(torch.tensor(probabilities, dtype=torch.float64))


def history(*heads):
    return torch.stack([logits_of(*head) for head in heads])


def test_confidence_reads_the_last_head_and_includes_the_threshold():
    answers = history([[0.99, 0.01]] * 3, [[0.76, 0.24], [0.24, 0.76], [0.74, 0.26]])
    assert ConfidenceExit(threshold=0.75)(answers).tolist() == [True, True, False]
    assert ConfidenceExit(threshold=0.5)(torch.zeros(1, 1, 2)).tolist() == [True]
    assert ConfidenceExit(threshold=0.0)(answers).all()
    assert ConfidenceExit(threshold=1.0)(torch.tensor([[[40.0, -40.0], [1.0, 0.0]]])).tolist() == [True, False]


def test_margin_is_between_the_first_two():
    answers = history([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7]])
    assert MarginExit(threshold=0.29)(answers).tolist() == [True, False, True]
    assert MarginExit(threshold=0.0)(answers).all()


def test_entropy_is_normalised():
    answers = history([[0.5, 0.5], [0.9, 0.1]])
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert EntropyExit(threshold=entropy + 1e-9)(answers).tolist() == [False, True]
    assert EntropyExit(threshold=entropy - 1e-9)(answers).tolist() == [False, False]
    assert EntropyExit(threshold=1.0)(answers)[1]


def test_patience_counts_agreement():
    yes, no = [0.8, 0.2], [0.2, 0.8]
    assert PatienceExit(patience=1)(history([yes, yes])).tolist() == [False, False], "one head agrees with nobody"
    two = history([yes, yes, no], [yes, no, no])
    assert PatienceExit(patience=1)(two).tolist() == [True, False, True]
    assert PatienceExit(patience=2)(two).tolist() == [False] * 3
    three = history([yes, yes, no], [yes, no, no], [yes, no, yes])
    assert PatienceExit(patience=2)(three).tolist() == [True, False, False]
    assert PatienceExit(patience=1)(three).tolist() == [True, True, False]


def test_patience_with_a_threshold_asks_for_both():
    answers = history([[0.8, 0.2], [0.9, 0.1], [0.3, 0.7]], [[0.8, 0.2], [0.6, 0.4], [0.95, 0.05]])
    assert PatienceExit(patience=1, threshold=0.75)(answers).tolist() == [True, False, False]


def test_a_head_that_says_nan_breaks_patience():
    answers = history([[0.8, 0.2], [0.8, 0.2]], [[0.8, 0.2], [0.8, 0.2]], [[0.8, 0.2], [0.8, 0.2]])
    answers[1, 1] = math.nan
    assert PatienceExit(patience=1)(answers).tolist() == [True, False]
    assert PatienceConfidenceExit(patience=2, threshold=0.7)(answers).tolist() == [True, False]


def test_patience_confidence_counts_confident_heads_in_a_row():
    answers = history([[0.9, 0.1], [0.6, 0.4]], [[0.1, 0.9], [0.9, 0.1]])
    assert PatienceConfidenceExit(patience=2, threshold=0.89)(answers).tolist() == [True, False], "need not agree"
    assert PatienceConfidenceExit(patience=1, threshold=0.89)(answers).tolist() == [True, True]
    assert PatienceConfidenceExit(patience=3, threshold=0.1)(answers).tolist() == [False, False], "too few heads"


def test_entropy_reduction_is_relative_to_the_head_before():
    def entropy(p):
        return -(p * math.log(p) + (1 - p) * math.log(1 - p))

    answers = history([[0.7, 0.3], [0.7, 0.3], [0.5, 0.5]], [[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]])
    reduction = 1 - entropy(0.8) / entropy(0.7)
    assert EntropyReductionExit(threshold=reduction + 1e-9)(answers).tolist() == [True, True, True]
    assert EntropyReductionExit(threshold=reduction - 1e-9)(answers).tolist() == [False, True, True]
    assert EntropyReductionExit(threshold=0.0)(answers).tolist() == [False, True, False], "0 is not below 0"
    assert EntropyReductionExit(threshold=1.0)(answers[:1]).tolist() == [False] * 3, "the first has none before it"


def test_entropy_reduction_where_nothing_is_left_to_remove():
    certain = torch.tensor([[[1000.0, 0.0]], [[1000.0, 0.0]]])
    assert EntropyReductionExit(threshold=0.05)(certain).tolist() == [True]


@pytest.mark.parametrize("classes", [2, 4, 5, 150])
def test_heads_that_say_nothing_yet_are_not_told_apart_by_rounding(classes):
    """Entropies are 1 but for rounding: at most 1, and no smaller than the one before."""
    history = 1e-4 * torch.randn(2, 2000, classes, generator=torch.Generator().manual_seed(0))
    assert EntropyExit(threshold=1.0)(history).all()
    assert not EntropyReductionExit(threshold=0.0)(history).any()
    assert EntropyReductionExit(threshold=0.01)(history).all()


def test_agreement_adds_up_the_votes_of_heads_that_agree():
    yes, sure, no = [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]
    answers = history([yes, yes, no], [sure, no, no], [sure, sure, no])
    votes = [(0.6 + 2 * 0.9 + 3 * 0.9) / 6, 3 * 0.9 / 6, 0.8]
    torch.testing.assert_close(AgreementExit().score(answers), torch.tensor(votes, dtype=torch.float64))
    assert AgreementExit(threshold=0.82)(answers).tolist() == [True, False, False]
    assert AgreementExit(threshold=0.75)(answers[:1]).tolist() == [False, False, True], "one head: its confidence"


def test_difference_is_patience_for_numbers():
    answers = torch.tensor([[1.0, 1.0, 3.0], [1.05, 2.0, 3.05], [1.0, 2.05, 3.2]], dtype=torch.float64)[..., None]
    assert DifferenceExit(patience=1, threshold=0.1)(answers).tolist() == [True, True, False]
    assert DifferenceExit(patience=2, threshold=0.1)(answers).tolist() == [True, False, False]
    assert DifferenceExit(patience=3, threshold=9.0)(answers).tolist() == [False] * 3, "too few heads"
    assert DifferenceExit(patience=1, threshold=0.0)(answers[:1].expand(2, 3, 1)).tolist() == [False] * 3
    with pytest.raises(ValueError, match=r"exit\.name: 'difference' compares one number per head, got 2 classes"):
        DifferenceExit()(torch.zeros(2, 3, 2))


@pytest.mark.parametrize("threshold", [-0.01, math.nan, math.inf, "0.9", True, [0.1]])
def test_bad_difference(threshold):
    with pytest.raises(ValueError, match=r"exit\.threshold: expected a number of 0 or more, got"):
        unchecked(DifferenceExit, threshold=threshold)


def test_never():
    assert not NeverExit()(history([[1.0, 1e-9]] * 3)).any()


@given(
    heads=st.integers(1, 5),
    batch=st.integers(1, 4),
    classes=st.integers(2, 4),
    threshold=st.floats(0.01, 0.99),
    patience=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_against_the_reference(heads, batch, classes, threshold, patience, seed):
    generator = torch.Generator().manual_seed(seed)
    every = 2 * torch.randn(heads, batch, classes, generator=generator, dtype=torch.float64)
    for spec in (
        {"name": "confidence", "threshold": threshold},
        {"name": "entropy", "threshold": threshold},
        {"name": "margin", "threshold": threshold},
        {"name": "patience", "patience": patience},
        {"name": "patience", "patience": patience, "threshold": threshold},
        {"name": "patience_confidence", "patience": patience, "threshold": threshold},
        {"name": "entropy_reduction", "threshold": threshold},
        {"name": "agreement", "threshold": threshold},
        {"name": "difference", "patience": patience, "threshold": threshold},
    ):
        answers = every[:, :, :1] if spec["name"] == "difference" else every
        expected = [exit_decision(spec, list(answers[:, i].numpy())) for i in range(batch)]
        leave = build_exit(spec)(answers).tolist()
        assert all(got == want or gap < 1e-12 for got, (want, gap) in zip(leave, expected, strict=True))


@pytest.mark.parametrize("name", sorted(EXITS.keys() - {"never", "difference"}))
@pytest.mark.parametrize("threshold", [-0.01, 1.01, math.nan, math.inf, "0.9", True, [], [0.5, 1.2], [0.5, None]])
def test_bad_threshold(name, threshold):
    with pytest.raises(ValueError, match=r"exit\.threshold(\[\d\])?: expected a number in \[0, 1\], got"):
        unchecked(EXITS[name], threshold=threshold)


@pytest.mark.parametrize("name", ["patience", "patience_confidence", "difference"])
@pytest.mark.parametrize("patience", [0, -1, 1.5, "1", True, None])
def test_bad_patience(name, patience):
    with pytest.raises(ValueError, match=r"exit\.patience: expected an integer of 1 or more, got"):
        unchecked(EXITS[name], patience=patience)


def test_a_whole_number_is_a_threshold():
    assert unchecked(ConfidenceExit, threshold=1).threshold == 1.0
