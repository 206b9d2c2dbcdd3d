"""Profiles: fixed bins, kept whole in JSON, refused where they are missing or broken."""

import json
import math

import numpy as np
import pytest

from eat.traces.profile import BINS, QUANTITIES, Profile, bins_of, measure, upper_edges


def test_quantities_by_hand():
    logits = np.log(np.array([[0.75, 0.25], [0.5, 0.5], [0.001, 0.999]]))
    kept = np.array([[10, 8, 0], [9, 6, 3], [4, 0, 0]])
    depth, confidence, retention, length = measure(logits, np.array([2, 2, 1]), kept)
    assert depth.tolist() == [2, 2, 1] and length.tolist() == [10, 9, 4]
    assert confidence == pytest.approx([0.75, 0.5, 0.999])
    assert retention == pytest.approx([0.8, 6 / 9, 1.0])


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_logits_have_no_confidence(broken):
    logits = np.array([[broken, 1.0], [0.0, 1000.0]])
    values = measure(logits, np.array([1, 1]), np.array([[3, 0], [3, 0]]))
    assert values[1].tolist() == [0, 1]
    assert bins_of(values)[1].tolist() == [0, BINS - 1]


def test_a_value_lies_at_or_below_the_upper_edge_of_its_bin_and_above_the_one_before():
    generator = np.random.default_rng(0)
    values = np.stack(
        [
            generator.integers(1, 25, 500).astype(float),
            1 - 10 ** generator.uniform(-6, -0.3, 500),
            generator.integers(1, 65, 500) / generator.integers(64, 90, 500),
            generator.integers(1, 600, 500).astype(float),
        ]
    )
    bins, edges = bins_of(values), upper_edges()
    for row, index, edge in zip(values, bins, edges, strict=True):
        assert (np.diff(edge) > 0).all()
        assert (row <= edge[index] * (1 + 1e-12)).all()
        assert (row[index > 0] > edge[index - 1][index > 0] * (1 - 1e-12)).all()


def test_edges_belong_to_the_bin_below():
    values = np.array([[1.0, 64.0, 99.0], [0.0, 1.0, 1 - math.exp(-0.25)], [1.0, 0.5, 1 / 64], [1.0, 512.0, 513.0]])
    assert bins_of(values).tolist() == [[0, 63, 63], [0, 63, 0], [63, 31, 0], [0, 36, 37]]


def test_json_and_back():
    values = np.array([[1.0, 2.0, 2.0], [0.5, 0.9, 0.9], [1.0, 0.5, 0.4], [4.0, 4.0, 9.0]])
    profile = Profile.of(values)
    saved = json.loads(json.dumps(profile.to_dict()))
    assert saved["examples"] == 3 and saved["counts"]["depth"] == {"0": 1, "1": 2}
    read = Profile.from_certificate({"profile": saved})
    np.testing.assert_array_equal(read.counts, profile.counts)
    assert read.examples == 3 and set(saved["counts"]) == set(QUANTITIES)


def test_older_other_and_broken_profiles():
    saved = Profile.of(np.array([[1.0], [0.5], [1.0], [4.0]])).to_dict()
    with pytest.raises(ValueError, match=r"certificate.profile: .* got none.* certify the model again"):
        Profile.from_certificate({"exit": {}})
    with pytest.raises(ValueError, match=r"profile.version: expected 1, got 2"):
        Profile.from_certificate({"profile": saved | {"version": 2}})
    with pytest.raises(
        ValueError, match=r"profile.counts: expected them to sum to its 2 examples .* got \[1, 1, 1, 1\]"
    ):
        Profile.from_certificate({"profile": saved | {"examples": 2}})
