"""What is checked inside of whole models can fail: each fault is put into a model by hand."""

import pytest
import torch

from eat.testing.checked import Checked, CheckFailedError
from eat.testing.models import check_gradients, check_in_float32, check_in_model, check_saving, make_model

PRUNER = {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}


def leak(block, dtype):
    """Let a block add something of the whole batch to its rows, in one precision."""

    def leaking(block, arguments, after):
        return after.with_rows(after.rows + after.rows.mean() * (after.rows.dtype == dtype), after.received)

    block.register_forward_hook(leaking)


def spoil(model, fault):
    if fault == "leak":
        leak(model.encoder.blocks[1], torch.float64)
    elif fault == "leak in float32":
        leak(model.encoder.blocks[1], torch.float32)
    elif fault == "another norm":
        model.encoder.blocks[0].outer_norm.eps = 0.5
    elif fault == "a pruner of another ratio":
        model.encoder.pruner.ratios = {1: 0.8, 2: 0.8}
    elif fault == "a head that stands still":
        for parameter in model.encoder.heads["1"].parameters():
            parameter.requires_grad_(False)
    elif fault == "broken weights":
        with torch.no_grad():
            model.encoder.heads["1"].out.bias.fill_(torch.inf)
    return model


def in_model(checked, model):
    for seed in range(4):
        check_in_model(checked, model, seed, masked=True)


def in_float32(checked, model):
    for seed in range(4):
        check_in_float32(checked, model, seed)


@pytest.mark.parametrize(
    ("check", "fault", "fact"),
    [
        (in_model, "leak", "a text alone is answered as in its batch"),
        (in_model, "another norm", "removed tokens and sequences equal masked ones"),
        (in_float32, "leak in float32", "in float32 a text alone is answered as in its batch, near-ties aside"),
        (lambda c, m: check_gradients(c, m, 0), "a head that stands still", "a training step reaches every head"),
        (lambda c, m: check_gradients(c, m, 0), "broken weights", "gradients are finite"),
        (
            lambda c, m: check_saving(c, m, "pruner"),
            "a pruner of another ratio",
            "a loaded model answers as the saved one",
        ),
    ],
)
def test_a_fault_is_found(check, fault, fact):
    check(Checked("whole"), make_model(pruner=PRUNER))
    with pytest.raises(CheckFailedError, match=fact):
        check(Checked("spoilt"), spoil(make_model(pruner=PRUNER), fault))
