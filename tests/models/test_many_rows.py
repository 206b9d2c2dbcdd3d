"""A block that handles its rows in parts says what it says of all at once."""

import pytest
import torch

from eat.modules import block
from tests.reference.tiny import batch_of, pack, tiny_adaptive


@pytest.mark.parametrize("pruner", ["none", "attention_received"])
def test_parts_equal_the_whole(monkeypatch, pruner):
    model = tiny_adaptive().double()
    if pruner != "none":
        model.set_pruner(name=pruner, depths=[1], ratio=0.3)
    batch = pack(*batch_of([20, 3, 11, 1, 15]))
    with torch.no_grad():
        whole = model(**batch, trace=True)
        seen = []
        finish = block.Block.finish
        monkeypatch.setattr(
            block.Block, "finish", lambda self, rows, mixed: seen.append(len(rows)) or finish(self, rows, mixed)
        )
        for each in model.encoder.blocks:
            each.inner_cells = 7 * 24  # 7 rows of the tiny feed-forward
        parts = model(**batch, trace=True)
    assert max(seen) == 7 and sum(seen[:8]) == 50
    torch.testing.assert_close(parts.all_logits, whole.all_logits, rtol=0, atol=1e-12)
    assert torch.equal(parts.tokens_kept, whole.tokens_kept)


def test_training_takes_all_rows_at_once(monkeypatch):
    monkeypatch.setattr(block, "INNER_CELLS", 7 * 24)  # which a block takes over when it is made
    model = tiny_adaptive().train()
    model(**pack(*batch_of([20, 3])), labels=torch.tensor([0, 1])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.encoder.blocks.parameters())
