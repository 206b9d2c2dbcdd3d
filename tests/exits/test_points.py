"""Operating points: equal where every argument is, named and ordered in one way."""

import pytest

from eat.exits import EXITS
from eat.exits.points import FULL_DEPTH, OperatingPoint

PER_CLASS = {"name": "confidence", "threshold": (0.8, 1.0)}


@pytest.mark.parametrize("name", EXITS)
def test_a_point_is_what_it_was_built_from(name: str) -> None:
    point = OperatingPoint.of({"name": name})
    assert OperatingPoint.of(point.spec) == point
    assert hash(OperatingPoint.of(point.spec)) == hash(point)
    assert type(point.build()) is EXITS[name]


def test_defaults_are_filled_in_and_none_is_left_out() -> None:
    explicit = {"name": "confidence", "threshold": 0.9, "veto_margin": None}
    assert OperatingPoint.of({"name": "confidence"}) == OperatingPoint.of(explicit)
    assert OperatingPoint.of(explicit).spec == {"name": "confidence", "threshold": 0.9}


def test_every_argument_counts() -> None:
    base = OperatingPoint.of({"name": "patience", "patience": 2, "threshold": 0.9})
    others = [base.changed(change) for change in ({"patience": 1}, {"threshold": 0.8}, {"veto_margin": 0.1})]
    assert len({base, *others}) == 4
    assert len({point.label for point in (base, *others)}) == 4
    assert len({tuple(point.columns.values()) for point in (base, *others)}) == 4


def test_another_name_starts_from_its_own_defaults() -> None:
    point = OperatingPoint.of({"name": "confidence", "threshold": 0.5})
    assert point.changed({"name": "margin"}) == OperatingPoint.of({"name": "margin"})
    assert point.changed({"name": None, "threshold": None}) == point


def test_a_threshold_per_class_has_a_name_and_a_place() -> None:
    point = OperatingPoint.of(PER_CLASS)
    assert point.spec == {"name": "confidence", "threshold": [0.8, 1.0]}
    assert point.label == "confidence threshold=0.8,1"
    assert point.order == (0, 0.9)
    assert [other.threshold for other in point.at([0.5, 0.6])] == [0.5, 0.6]
    many = [OperatingPoint.of({"name": "margin", "threshold": [i / 200, *[0.5] * 150]}) for i in (1, 2)]
    assert len(many[0].label) < 60
    assert many[0].label != many[1].label


def test_columns_name_what_has_no_column_of_its_own() -> None:
    point = OperatingPoint.of({"name": "confidence", "threshold": 0.9, "veto_margin": 0.25})
    assert point.columns == {"exit": "confidence+veto0.25", "threshold": 0.9, "patience": None}
    assert FULL_DEPTH.columns == {"exit": "never", "threshold": None, "patience": None}


def test_a_folder_and_a_command_line() -> None:
    point = OperatingPoint.of({"name": "patience", "patience": 2, "threshold": [0.5, 0.25]})
    assert point.slug == "patience-patience-2-threshold-0.5,0.25"
    assert point.overrides == ["exit=patience", "exit.patience=2", "exit.threshold=[0.5,0.25]"]


def test_points_of_a_family_differ_in_the_threshold_alone() -> None:
    plain, *rest = OperatingPoint.of({"name": "patience", "patience": 2}), *OperatingPoint.of(PER_CLASS).at([0.1, 0.2])
    assert plain.at([0.3])[0].family == plain.family
    assert rest[0].family == rest[1].family != plain.family


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "confidense"}, "did you mean 'confidence'"),
        ({"name": "confidence", "threshold": 2.0}, r"exit\.threshold: expected a number in \[0, 1\], got 2"),
        ({"name": "confidence", "patience": 1}, r"exit\.patience: exit 'confidence' takes"),
    ],
)
def test_what_cannot_be_built_is_refused_at_once(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OperatingPoint.of(spec)
