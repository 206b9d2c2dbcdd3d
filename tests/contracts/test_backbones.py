"""Every backbone in the table keeps its promises."""

import pytest

from eat.backbones import BACKBONES
from eat.testing import check_backbone


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_backbone(name):
    assert not check_backbone(name).left_out
