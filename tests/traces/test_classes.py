"""Class by class, beside scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as reference_matrix
from sklearn.metrics import precision_recall_fscore_support

from eat.traces.classes import class_qualities, confusion_matrix


@given(seed=st.integers(0, 10**6), num_classes=st.integers(2, 7), num_rows=st.integers(1, 60))
def test_all_agrees_with_scikit_learn_also_where_a_class_is_absent(seed, num_classes, num_rows):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(num_classes, size=(2, num_rows))
    names = [f"class {index}" for index in range(num_classes)]
    matrix = confusion_matrix(labels, predicted, num_classes)
    every = list(range(num_classes))
    np.testing.assert_array_equal(matrix, reference_matrix(labels, predicted, labels=every))
    found = class_qualities(matrix, names)
    expected = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    assert [one.name for one in found] == names
    for field, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [getattr(one, field) for one in found] == pytest.approx(values.tolist(), abs=1e-12)
    assert [one.predicted for one in found] == np.bincount(predicted, minlength=num_classes).tolist()
