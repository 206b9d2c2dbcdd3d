import pytest
import torch
from transformers import RobertaConfig

from eat.backbones.convert import tile_positions
from eat.backbones.roberta import RobertaBackbone
from eat.backbones.tiny import tiny_config


def table(rows):
    return torch.arange(rows).unsqueeze(1)


def test_tiling_repeats_the_table():
    assert tile_positions(table(4), 10, 0)[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_tiling_leaves_the_offset_rows_out():
    """RoBERTa's first two rows stand for no position."""
    assert tile_positions(table(5), 10, 2)[:, 0].tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 2, 3]


def test_a_smaller_table_is_cut():
    assert tile_positions(table(5), 3, 2)[:, 0].tolist() == [0, 1, 2]
    assert tile_positions(table(5), 5, 2)[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_robertas_positions_count_what_is_not_padding():
    backbone = RobertaBackbone.from_hf_config(tiny_config("roberta"))
    ids = torch.tensor([[2, 7, 8, 1, 1], [1, 1, 2, 7, 8]])
    live = ids != 1
    assert backbone.position_ids(ids, live).tolist() == [[2, 3, 4, 1, 1], [1, 1, 2, 3, 4]]


def test_roberta_with_another_padding_index_is_refused():
    with pytest.raises(ValueError, match=r"backbone\.pad_token_id: expected 1 for roberta, got 0"):
        RobertaBackbone.from_hf_config(RobertaConfig(pad_token_id=0))


def test_tiny_config_of_an_unknown_type():
    with pytest.raises(ValueError, match=r"model_type: expected one of \['albert', .*got 'gpt2'"):
        tiny_config("gpt2")


def test_tiny_config_of_an_impossible_shape():
    with pytest.raises(ValueError, match=r"backbone\.dim: expected a multiple of num_heads=4, got 30"):
        tiny_config(dim=30)
