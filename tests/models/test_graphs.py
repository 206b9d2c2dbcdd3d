"""Recorded segments answer like the encoder itself. A recorder that runs the segment again stands in for CUDA's."""

import copy
import dataclasses

import pytest
import torch

from eat.attention import build_attention
from eat.models.graphs import SegmentGraphs, is_single
from eat.models.inputs import Inputs
from tests.made.pairs import pairs_first
from tests.reference.tiny import MODEL_TYPES, batch_of, configure, pack, tiny_adaptive, types_for


def tensors(recorded):
    """What a replay writes: every tensor of the state, the history and the decision."""
    here, leave = recorded
    fields = (getattr(here.state, field.name) for field in dataclasses.fields(here.state))
    return [value for value in (*fields, here.history, leave) if isinstance(value, torch.Tensor)]


class Rerun:
    """Runs again where CUDA would replay, and writes into the same tensors."""

    recordings = 0

    def __call__(self, run):
        Rerun.recordings += 1
        result = run()

        def replay():
            for kept, new in zip(tensors(result), tensors(run()), strict=True):
                kept.copy_(new)

        for tensor in tensors(result):  # recording computes nothing
            tensor.zero_()
        return result, replay


@pytest.fixture(autouse=True)
def _no_device(monkeypatch):
    Rerun.recordings = 0
    monkeypatch.setattr("eat.models.graphs.CudaRecorder", Rerun)
    monkeypatch.setattr("eat.models.graphs.can_replay", lambda encoder, device: not encoder.training)


def assert_same(output, expected):
    torch.testing.assert_close(output.logits, expected.logits, rtol=0, atol=1e-6)
    assert output.exit_depth.tolist() == expected.exit_depth.tolist()
    assert output.tokens_kept.tolist() == expected.tokens_kept.tolist()
    assert list(output) == list(expected)


@pytest.mark.parametrize(
    ("model_type", "attention", "pruner"),
    pairs_first(
        MODEL_TYPES,
        [{"name": "full"}, {"name": "windowed", "window": 8}],
        ["l2_norm", "attention_received", "random"],
    ),
)
def test_recordings_answer_like_the_encoder(model_type, attention, pruner):
    model = tiny_adaptive(model_type, num_layers=4)
    pruning = {"name": pruner, "depths": [1, 2], "ratio": 0.3}
    configure(model, attention, pruning, {"name": "margin", "threshold": 0.2})
    recording = copy.deepcopy(model)
    recording._graphs = SegmentGraphs(30)
    depths = set()
    for seed in range(6):
        for length in (1, 9, 30):
            ids, mask, types = batch_of([length], seed=seed)
            types = types_for(model, types) if seed % 3 else None
            with torch.inference_mode():
                expected = model(ids, None, types)
                assert_same(recording(ids, mask if seed % 2 else None, types), expected)
            depths.add(expected.exit_depth.item())
    assert len(depths) > 1, "some leave early"
    assert Rerun.recordings == 3 * 4, "each length once, in segments"


def test_packed_input():
    model = tiny_adaptive("roberta")
    recording = copy.deepcopy(model)
    recording._graphs = SegmentGraphs(30)
    inputs = pack(*batch_of([9])) | {"token_type_ids": None}
    with torch.no_grad():
        assert_same(recording(**inputs), model(**inputs))
    assert Rerun.recordings == 1


def test_a_mask_belongs_to_one_run():
    """What is left after pruning differs from text to text: no mask may survive from the recording."""
    model = tiny_adaptive(num_layers=4, head_depths=[2, 4])
    configure(
        model,
        {"name": "windowed", "window": 4},
        {"name": "l2_norm", "depths": [1], "ratio": 0.5},
        {"name": "confidence", "threshold": 1.0},
    )
    recording = copy.deepcopy(model)
    recording._graphs = SegmentGraphs(40)
    for seed in range(5):
        ids, _, types = batch_of([40], seed=seed)
        with torch.no_grad():
            assert_same(recording(ids, None, types), model(ids, None, types))


def test_an_answer_outlives_the_next_one():
    model = tiny_adaptive()
    model._graphs = SegmentGraphs(30)
    with torch.inference_mode():
        first = model(*batch_of([9], seed=1))
        before = first.logits.clone()
        second = model(*batch_of([9], seed=2))
    assert torch.equal(first.logits, before) and not torch.equal(second.logits, before)


def test_other_inputs_run_as_before():
    model = tiny_adaptive()
    model._graphs = SegmentGraphs(20)
    for lengths in ([5, 9], [21]):
        model(*batch_of(lengths))
    model(*batch_of([9], width=12))
    model(*batch_of([9]), trace=True)
    model.train()(*batch_of([9]))
    assert Rerun.recordings == 0
    model.eval()(*batch_of([20]))
    assert Rerun.recordings == 1
    with pytest.raises(ValueError, match="token_type_ids: expected the shape of input_ids"):
        model(batch_of([9])[0], None, batch_of([8])[0])


def test_other_parts_are_recorded_anew():
    model = tiny_adaptive()
    model._graphs = SegmentGraphs(20)
    batch = batch_of([9])
    for change in (
        lambda: model.set_exit(name="confidence", threshold=0.0),
        lambda: model.set_pruner(name="l2_norm", depths=[1], ratio=0.5),
        lambda: model.set_pruning_scale(0.5),
        lambda: model.set_attention(name="windowed", window=4),
        lambda: setattr(model.encoder.blocks[1], "attention", build_attention({"name": "full"})),
        lambda: model.set_temperatures([2.0] * len(model.head_depths)),
        lambda: model.double(),
    ):
        model(*batch)
        change()
        recordings = Rerun.recordings
        output = model(*batch)
        assert Rerun.recordings > recordings
        plain = copy.deepcopy(model)
        plain._graphs = None
        assert_same(output, plain(*batch))


def test_the_shape_used_longest_ago_is_dropped(monkeypatch):
    monkeypatch.setattr("eat.models.graphs.SHAPES_HELD", 2)
    model = tiny_adaptive()
    model._graphs = SegmentGraphs(20)
    for length, recordings in ((5, 1), (6, 2), (5, 2), (7, 3), (5, 3), (6, 4)):
        model(*batch_of([length]))
        assert Rerun.recordings == recordings


def test_a_copy_records_for_itself():
    model = tiny_adaptive()
    model._graphs = SegmentGraphs(20)
    model(*batch_of([9]))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    plain = copy.deepcopy(twin)
    plain._graphs = None
    assert_same(twin(*batch_of([9])), plain(*batch_of([9])))


def test_what_counts_as_one_sequence():
    ids, mask, types = batch_of([9])
    length = torch.tensor([9])
    assert is_single(Inputs(ids, None, None, None)) and is_single(Inputs(ids, mask, types, None))
    assert is_single(Inputs(ids[0], None, types[0], length))
    assert not is_single(Inputs(ids, mask.index_fill(1, torch.tensor([8]), 0), None, None))
    assert not is_single(Inputs(ids.expand(2, 9), None, None, None))
    assert not is_single(Inputs(ids[0], None, None, torch.tensor([4, 5])))
    assert not is_single(Inputs(ids[0], None, None, torch.tensor([8])))
    assert not is_single(Inputs(ids[0], None, types, length))


def test_graphs_need_a_gpu():
    with pytest.raises(ValueError, match="capture_graphs: expected the model on a CUDA device, got cpu"):
        tiny_adaptive().capture_graphs()
