"""Every compression in the table, with the values of its YAML, keeps its promises."""

import pytest

from eat.ops.int8 import best_bits
from eat.testing import check_compression
from eat.training.compression import COMPRESSIONS
from tests.training.made import read_conf

SHARE = [-0.1, 1.1, True]
REFUSED = {
    "keep": [0.0, *SHARE],
    "start": SHARE,
    "end": [*SHARE, 0.0],
    "score_lr": [-1.0, True],
    "activation_bits": [6, 9, True, 8.0],
    "heads": [0.0, *SHARE],
    "neurons": [0.0, *SHARE],
    "multiple": [0, 1.5, True],
    "threshold": [0.0, 0.5, True],
    "penalty_weight": [-1.0, True],
}


@pytest.mark.parametrize("name", sorted(COMPRESSIONS))
def test_compression(name):
    values = read_conf(f"compression/{name}")
    values |= {"activation_bits": best_bits()} if "activation_bits" in values else {}
    checked = check_compression(values, refused={key: REFUSED[key] for key in values if key in REFUSED})
    assert not checked.left_out
