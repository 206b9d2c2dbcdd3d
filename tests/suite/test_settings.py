"""Settings of the suite are checked where they come in, each by its name."""

from typing import Any

import pytest

from eat.suite.settings import SuiteSettings
from tests.reference.unchecked import unchecked_settings


def test_defaults_pass() -> None:
    assert unchecked_settings(SuiteSettings) == SuiteSettings()
    assert unchecked_settings(SuiteSettings, parts=[]).chosen_parts == ()
    assert unchecked_settings(SuiteSettings, threads=[2, 2]).thread_counts == (2,)


@pytest.mark.parametrize(
    "name",
    ["shapes", "heavy_shapes", "lengths", "curve_lengths", "curve_batch_sizes", "memory_batches", "threads", "parts"],
)
@pytest.mark.parametrize("value", [0.5, 3, True, "abc", {"a": 1}, [None], [[[1]]], ["x" * 5000]])
def test_lists_of_anything_else_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected ") as caught:
        unchecked_settings(SuiteSettings, **{name: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shapes": None}, r"shapes: expected a list, such as \[\w+\], got None"),
        ({"parts": ["dept"]}, r"parts: expected some of \[.*\], got 'dept' \(did you mean 'depth'\?\)"),
        (
            {"memory_batches": [[8, 512, 1]]},
            r"memory_batches: expected pairs of batch size and length, got \[8, 512, 1\]",
        ),
        ({"device": 3}, "device: expected auto, cpu or cuda, got 3"),
        ({"device": None}, "device: expected auto, cpu or cuda, got None"),
        ({"device": "meta"}, "device: expected auto, cpu or cuda, got 'meta'"),
        ({"device": "cuda:x"}, "device: expected auto, cpu or cuda, got 'cuda:x'"),
        ({"seed": "x"}, "seed: expected an integer of 0 or more, got 'x'"),
    ],
)
def test_the_message_says_what_was_expected(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        unchecked_settings(SuiteSettings, **values)
