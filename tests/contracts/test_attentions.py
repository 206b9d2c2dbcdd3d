"""Every attention part in the table keeps its promises."""

import pytest
import torch

from eat.attention import ATTENTIONS
from eat.testing import check_attention


def near(positions, is_global):
    """Who sees whom in a window of 32."""
    distance = (positions.unsqueeze(0) - positions.unsqueeze(1)).abs()
    return (distance <= 16) | is_global.unsqueeze(0) | is_global.unsqueeze(1)


VISIBLE = {
    "full": lambda positions, is_global: torch.ones(len(positions), len(positions), dtype=torch.bool),
    "windowed": near,
}
REFUSED = {"windowed": {"window": [0, 3, -2, True, 4.0], "global_tokens": [[], ["sep"], ["cls", "mask"]]}}


@pytest.mark.parametrize("name", sorted(ATTENTIONS))
def test_attention(name):
    checked = check_attention(name, visible=VISIBLE[name], refused=REFUSED.get(name))
    assert not checked.left_out
