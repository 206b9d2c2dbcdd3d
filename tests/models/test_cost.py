import torch
from torch.utils.flop_counter import FlopCounterMode

from eat.models.cost import block_flops, head_flops, received_flops


def test_block_by_hand():
    """Width 2, feed-forward 3: 16 + 12 products per token, 2 x 2 per pair of 25; each is two operations."""
    assert block_flops(5, 25, 2, 16 + 12) == 2 * 5 * (4 * 4 + 2 * 6) + 2 * 25 * 2 * 2


def test_received_by_hand():
    assert received_flops(25, 2) == 2 * 25 * 2


def test_head_is_a_dense_layer_and_a_classifier():
    rows = torch.zeros(1, 8)
    with FlopCounterMode(display=False) as counter:
        torch.nn.Linear(8, 3)(torch.nn.Linear(8, 8)(rows))
    assert head_flops(8, 3) == counter.get_total_flops()
