"""At inference the host asks the device once per early head, and twice for a padded batch."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from eat.models.inputs import Inputs, pack_inputs
from tests.reference.tiny import batch_of, configure, pack, tiny_adaptive

# Operations whose result's shape or value the host needs: each waits for the device.
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::unique")


class HostReads(TorchDispatchMode):
    """Counts the times that a tensor's values reach the host."""

    count = 0

    def __enter__(self):
        self.count = 0
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func._schema.name.startswith(READS) and "nonzero_static" not in func._schema.name
        if func._schema.name in ("aten::index", "aten::index_put_"):
            self.count += any(index is not None and index.dtype == torch.bool for index in args[1])
        return func(*args, **(kwargs or {}))


@pytest.fixture
def reads(monkeypatch):
    """Counts inside ``with reads:``; lists are read in one go and pass no dispatcher."""
    counter = HostReads()
    for name in ("tolist", "numpy"):
        plain = getattr(torch.Tensor, name)

        def counted(tensor, *args, plain=plain):
            counter.count += 1
            return plain(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    return counter


def test_the_counter_counts(reads):
    values = torch.tensor([1, 0])
    with reads:
        values.tolist(), values[0].item(), values[values.bool()], values.nonzero(), bool(values[0])
        torch.nonzero_static(values, size=1), values[torch.tensor([0])]
    assert reads.count == 5


@pytest.mark.parametrize("attention", [{"name": "full"}, {"name": "windowed", "window": 8}])
@pytest.mark.parametrize("pruner", ["none", "l2_norm", "attention_received", "random"])
@pytest.mark.parametrize("lengths", [[25], [30, 5, 12, 40, 3, 3]])
def test_once_per_early_head(reads, attention, pruner, lengths):
    model = tiny_adaptive(num_layers=4)
    pruning = {"name": pruner} | ({} if pruner == "none" else {"depths": [1, 2], "ratio": 0.3})
    configure(model, attention, pruning, {"name": "margin", "threshold": 0.2})
    inputs = pack(*batch_of(lengths))
    with torch.inference_mode():
        packed = Inputs(inputs["input_ids"], None, inputs["token_type_ids"], inputs["lengths"])
        state = pack_inputs(model.backbone, model.encoder.embeddings, packed, protected_id=None)
        with reads:
            output = model.encoder(state, trace=False)
        count = reads.count
    early_heads = [depth for depth in model.head_depths[:-1] if (output.exit_depth >= depth).any()]
    assert count == len(early_heads) > 0
    if len(lengths) > 1:
        assert len(set(output.exit_depth.tolist())) > 1, "some leave and others stay"


def test_padded_input_asks_how_long_and_how_wide_its_sequences_are(reads):
    model = tiny_adaptive()
    batch = batch_of([30, 5, 12])
    with torch.inference_mode(), reads:
        model(*batch)
        count = reads.count
    assert count == 2


def test_without_a_mask_nothing_is_asked(reads):
    model = tiny_adaptive()
    ids, _, types = batch_of([12, 12])
    with torch.inference_mode(), reads:
        model(ids, None, types)
        count = reads.count
    assert count == 0
