"""What may come in, how long it may be, and what is refused."""

import inspect

import numpy as np
import pytest
import torch

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.inputs import Inputs, check_tensors, read_lengths
from tests.reference.tiny import MODEL_TYPES, VOCABULARY, batch_of, pack, pad_id, tiny_adaptive, tiny_hugging_face

every_backbone = pytest.mark.parametrize("model_type", MODEL_TYPES)


def test_too_long_is_refused_and_the_way_on_is_named():
    model = tiny_adaptive(max_length=40)
    ids, mask, types = batch_of([41])
    message = r"input_ids: expected at most 40 tokens a sequence, got 41; .*max_length"
    with pytest.raises(ValueError, match=message):
        model(ids, mask)
    with pytest.raises(ValueError, match=message):
        model(**pack(ids, mask, types))
    assert model(ids[:, :40]).logits.shape == (1, 3)


@pytest.mark.parametrize("model_type", [name for name in MODEL_TYPES if name != "modernbert"])  # has no such table
def test_longer_position_table_repeats_the_learned_one(model_type):
    hugging_face = tiny_hugging_face(model_type, max_length=40)
    short = AdaptiveForSequenceClassification.from_backbone(hugging_face)
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face, max_length=250)
    offset = model.backbone.position_offset
    table, learned = (m.encoder.embeddings.positions.weight.detach()[offset:] for m in (model, short))
    assert table.shape[0] == 250 and learned.shape[0] == 40
    for position in range(250):
        assert torch.equal(table[position], learned[position % 40])
    ids, mask, _ = batch_of([30, 7], pad=pad_id(model_type))
    with torch.no_grad():
        torch.testing.assert_close(model(ids, mask).logits, short(ids, mask).logits, rtol=0, atol=1e-6)


@every_backbone
@pytest.mark.parametrize("attention", [{"name": "full"}, {"name": "windowed", "window": 8}])
def test_documents_longer_than_the_table(model_type, attention, tmp_path):
    hugging_face = tiny_hugging_face(model_type, max_length=40)
    model = AdaptiveForSequenceClassification.from_backbone(
        hugging_face, max_length=250, attention=attention, pruner={"name": "l2_norm", "depths": [1], "ratio": 0.5}
    )
    ids, mask, _ = batch_of([250, 100, 3], pad=pad_id(model_type))
    with torch.no_grad():
        output = model(ids, mask)
        assert output.logits.isfinite().all() and output.tokens_kept[:, 0].tolist() == [250, 100, 3]
        model.save_pretrained(tmp_path)
        assert torch.equal(AdaptiveForSequenceClassification.from_pretrained(tmp_path)(ids, mask).logits, output.logits)


def test_shorter_position_table_is_cut():
    model = AdaptiveForSequenceClassification.from_backbone(tiny_hugging_face(max_length=40), max_length=16)
    assert model.encoder.embeddings.positions.weight.shape[0] == 16
    with pytest.raises(ValueError, match="at most 16 tokens"):
        model(batch_of([17])[0])


@every_backbone
@pytest.mark.parametrize("bad", [-1, VOCABULARY, 10**6])
def test_token_id_out_of_range(model_type, bad):
    model = tiny_adaptive(model_type)
    ids, mask, types = batch_of([6, 3], pad=pad_id(model_type))
    ids[0, 2] = bad
    message = rf"input_ids: expected token ids in \[0, {VOCABULARY}\)"
    with pytest.raises(ValueError, match=message):
        model(ids, mask)
    packed = pack(ids, mask, types)
    with pytest.raises(ValueError, match=message):
        model(packed["input_ids"], lengths=packed["lengths"])


def test_token_type_out_of_range():
    ids, mask, types = batch_of([6, 3])
    types[0, 2] = 2
    with pytest.raises(ValueError, match=r"types in \[0, 2\)"):
        tiny_adaptive()(ids, mask, types)


def test_empty_sequence():
    model = tiny_adaptive()
    ids, mask, _ = batch_of([6, 3, 4])
    mask[1] = 0
    with pytest.raises(ValueError, match=r"attention_mask: expected at least one real token .* got 0 in sequence 1"):
        model(ids, mask)
    with pytest.raises(ValueError, match=r"lengths: expected at least one .* got 0 in sequence 1"):
        model(ids[0], lengths=torch.tensor([4, 0, 2]))


def test_no_columns():
    with pytest.raises(ValueError, match="input_ids: expected at least one real token in each sequence, got 0"):
        tiny_adaptive()(torch.zeros(2, 0, dtype=torch.long))


def test_empty_batch():
    model = tiny_adaptive()
    with pytest.raises(ValueError, match="at least one sequence, got an empty batch"):
        model(torch.zeros(0, 5, dtype=torch.long))
    with pytest.raises(ValueError, match="at least one sequence, got an empty batch"):
        model(torch.zeros(0, dtype=torch.long), lengths=torch.zeros(0, dtype=torch.long))


def test_mismatched_shapes():
    model = tiny_adaptive()
    ids, mask, types = batch_of([6, 3])
    with pytest.raises(ValueError, match=r"attention_mask: expected the shape of input_ids \(2, 6\), got \(2, 5\)"):
        model(ids, mask[:, :5])
    with pytest.raises(ValueError, match=r"token_type_ids: expected the shape of input_ids \(2, 6\), got \(1, 6\)"):
        model(ids, mask, types[:1])
    with pytest.raises(ValueError, match=r"input_ids: expected \(batch, width\), or packed .*, got \(6,\)"):
        model(ids[0])
    with pytest.raises(ValueError, match=r"input_ids: expected one row of tokens beside lengths, got shape \(2, 6\)"):
        model(ids, lengths=torch.tensor([6, 6]))
    with pytest.raises(ValueError, match="input_ids: expected a tensor of token ids, got None"):
        model(attention_mask=mask)


def test_lengths_must_sum_to_the_tokens():
    model = tiny_adaptive()
    with pytest.raises(ValueError, match=r"lengths: expected a sum of 6 \(the tokens given\), got 5"):
        model(batch_of([6])[0][0], lengths=torch.tensor([3, 2]))
    with pytest.raises(ValueError, match=r"lengths: expected at least one .* got -2 in sequence 1"):
        model(batch_of([6])[0][0], lengths=torch.tensor([8, -2]))


def test_packed_input_has_no_mask():
    ids, mask, _ = batch_of([6])
    with pytest.raises(ValueError, match="attention_mask: expected none beside lengths"):
        tiny_adaptive()(ids[0], mask[0], lengths=torch.tensor([6]))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32, torch.uint8])
def test_masks_of_any_dtype(dtype):
    model = tiny_adaptive()
    ids, mask, _ = batch_of([6, 3])
    with torch.no_grad():
        assert torch.equal(model(ids, mask.to(dtype)).logits, model(ids, mask).logits)


def test_int32_ids():
    model = tiny_adaptive()
    ids, mask, _ = batch_of([6, 3])
    with torch.no_grad():
        assert torch.equal(model(ids.int(), mask).logits, model(ids, mask).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": [[2, 5, 4]]}, "input_ids: expected a tensor of token ids, got a list"),
        ({"input_ids": np.array([[2, 5, 4]])}, "input_ids: expected a tensor of token ids, got a ndarray"),
        (
            {"input_ids": torch.tensor([[2.0, 5, 4]])},
            "input_ids: expected a tensor of int64 or int32, got torch.float32",
        ),
        ({"input_ids": torch.tensor([[True]])}, "input_ids: expected a tensor of int64 or int32, got torch.bool"),
        ({"input_ids": torch.tensor([[2, -5, 4]])}, "got ids from -5 to 4 and types from 0 to 1"),
        ({"token_type_ids": torch.tensor([[0, 1, 2]])}, "got ids from 2 to 5 and types from 0 to 2"),
        ({"token_type_ids": [[0, 0, 1]]}, "token_type_ids: expected a tensor, got a list"),
        ({"attention_mask": [[1, 1, 1]]}, "attention_mask: expected a tensor, got a list"),
    ],
)
def test_what_no_embedding_table_takes(change, message):
    inputs = {"input_ids": torch.tensor([[2, 5, 4]]), "attention_mask": None}
    inputs["token_type_ids"] = torch.tensor([[0, 0, 1]])
    batch = Inputs._make([*(inputs | change).values(), None])

    def ask():
        inspect.unwrap(check_tensors)(batch)  # tests check annotations, which a list never passes
        tiny_adaptive()(*batch[:3])

    with pytest.raises(ValueError, match=message):
        ask()


def test_an_error_of_a_hook_is_not_called_the_tokens():
    model = tiny_adaptive()
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, rows: rows.size(2))
    with pytest.raises(IndexError):
        model(torch.tensor([[2, 5, 4]]))


def test_lengths_in_other_forms():
    model = tiny_adaptive()
    ids = batch_of([6])[0][0]
    expected = model(ids, lengths=torch.tensor([4, 2])).logits
    for lengths in ([4, 2], (4, 2), torch.tensor([[4], [2]]), torch.tensor([4, 2], dtype=torch.int32)):
        assert torch.equal(model(ids, lengths=lengths).logits, expected)
    assert read_lengths(np.array([4, 2])).tolist() == [4, 2]
    for lengths in ([4.0, 2.0], "42", [[4, 2]], 6, [True, False]):
        with pytest.raises(ValueError, match="lengths: expected one integer per sequence, got "):
            read_lengths(lengths)
