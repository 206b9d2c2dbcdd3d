"""Every engine in the table keeps its promises."""

import pytest

from eat.benchmark.engines import ENGINES
from eat.testing import check_engine


@pytest.mark.parametrize("name", ENGINES)
def test_engine(name):
    checked = check_engine(name, trials=4)
    if checked.left_out:
        pytest.skip(str(checked.left_out))
