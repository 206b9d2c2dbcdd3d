"""A stream's answers are the ones that each example has alone; the stream is read lazily and not far ahead."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.models.stream import SurvivorPools
from tests.reference import strategies
from tests.reference.tiny import batch_of, configure, pad_id, shared_float64, tiny_adaptive

FULL = {"name": "full"}
NO_PRUNER = {"name": "none"}
L2_NORM = {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}
HALF_LEAVE = {"name": "confidence", "threshold": 0.5237}
NEVER = {"name": "never"}


def examples_of(lengths, seed=0, model_type="bert"):
    """Tokenised examples as a tokenizer gives them."""
    ids, _, types = batch_of(lengths, seed=seed, pad=pad_id(model_type))
    return [
        {"input_ids": ids[i, :n].tolist(), "token_type_ids": types[i, :n].tolist(), "attention_mask": [1] * n}
        for i, n in enumerate(lengths)
    ]


def alone(model, example):
    types = torch.tensor([example["token_type_ids"]]) if model.backbone.num_types > 1 else None
    with torch.no_grad():
        return model(torch.tensor([example["input_ids"]]), None, types)


def assert_answers(model, examples, predictions):
    predictions = list(predictions)
    assert len(predictions) == len(examples)
    for example, prediction in zip(examples, predictions, strict=True):
        expected = alone(model, example)
        torch.testing.assert_close(prediction.logits, expected.logits[0], rtol=1e-9, atol=1e-9)
        assert prediction.exit_depth == expected.exit_depth.item()
        assert list(prediction.tokens_kept) == expected.tokens_kept[0].tolist()


def varied(count, seed=0):
    lengths = torch.randint(1, 23, (count,), generator=torch.Generator().manual_seed(seed))
    return examples_of(lengths.tolist(), seed)


class Counted:
    """An iterator that knows how far it was read."""

    def __init__(self, examples):
        self.examples, self.read = iter(examples), 0

    def __iter__(self):
        return self

    def __next__(self):
        example = next(self.examples)
        self.read += 1
        return example


@given(
    model_type=strategies.model_types,
    pooling=strategies.poolings,
    attention=strategies.attentions,
    pruner=strategies.pruners(),
    exit=strategies.exits,
    lengths=st.lists(st.integers(1, 22), max_size=14),
    batch_size=st.integers(1, 5),
    more=st.one_of(st.none(), st.integers(0, 9)),
    seed=strategies.seeds,
)
def test_as_if_alone(model_type, pooling, attention, pruner, exit, lengths, batch_size, more, seed):
    """Every exit, pruner, attention and pooling; any batch size and any number in flight; answers in order."""
    model = configure(shared_float64(model_type, pooling), attention, pruner, exit)
    examples = examples_of(lengths, seed, model_type) if lengths else []
    if model.backbone.num_types < 2:
        for example in examples:
            del example["token_type_ids"]
    in_flight = None if more is None else batch_size + more
    predictions = list(model.predict_stream(examples, batch_size, max_in_flight=in_flight))
    for example in examples:
        example.setdefault("token_type_ids", None)
    assert_answers(model, examples, predictions)


@pytest.mark.parametrize("exit", [HALF_LEAVE, {"name": "patience", "patience": 1}, {"name": "patience", "patience": 2}])
@pytest.mark.parametrize("pruner", [L2_NORM, {"name": "attention_received", "depths": [1, 2], "ratio": 0.4}])
def test_survivors_of_many_batches_answer_as_if_alone(exit, pruner):
    """Logits seen before (patience) and attention received at an exit's depth travel with who waits."""
    model = configure(shared_float64("bert", "mean", num_layers=5), FULL, pruner, exit)
    examples = varied(60)
    predictions = list(model.predict_stream(examples, 8))
    depths = {prediction.exit_depth for prediction in predictions}
    assert len(depths) > 2 and 5 in depths, "some leave early and some do not"
    assert_answers(model, examples, predictions)


@pytest.mark.parametrize("global_tokens", [["cls"], ["cls", "sep"]])
def test_blocked_lengths(global_tokens):
    """Long sequences in blocks, shorter ones densely and the shortest without a mask wait in one pool."""
    model = tiny_adaptive(max_length=330).double()
    attention = {"name": "windowed", "window": 8, "global_tokens": global_tokens}
    configure(model, attention, {"name": "attention_received", "depths": [1, 2], "ratio": 0.2}, HALF_LEAVE)
    examples = examples_of([300, 4, 5, 40, 250, 192, 191, 1, 220, 3, 310, 60], seed=6)
    predictions = list(model.predict_stream(examples, 4))
    assert {prediction.exit_depth for prediction in predictions} > {3}
    assert_answers(model, examples, predictions)


def test_regression():
    model = tiny_adaptive(num_labels=1, pruner=L2_NORM).double()
    examples = varied(11)
    predictions = list(model.predict_stream(examples, 4))
    assert predictions[0].logits.shape == (1,)
    assert_answers(model, examples, predictions)


def test_float32():
    model = tiny_adaptive(attention={"name": "windowed", "window": 6})
    examples = varied(30)
    for example, prediction in zip(examples, model.predict_stream(examples, 8), strict=True):
        torch.testing.assert_close(prediction.logits, alone(model, example).logits[0], rtol=0, atol=1e-5)


def test_batches_are_full_at_every_depth(monkeypatch):
    """But for the end of the stream; plain batches of 8 would leave the later blocks with a few sequences each."""
    model = configure(shared_float64("bert", "cls"), FULL, NO_PRUNER, HALF_LEAVE)
    examples = varied(192)
    sizes = {0: [], 1: [], 2: []}
    advance = model.encoder.advance

    def recorded(standing, trace):
        sizes[standing.depth].append(len(standing.state.host_lengths))
        return advance(standing, trace)

    monkeypatch.setattr(model.encoder, "advance", recorded)
    depths = [prediction.exit_depth for prediction in model.predict_stream(examples, 8)]
    for depth, waited in sizes.items():
        survivors = sum(exit_depth > depth for exit_depth in depths)
        assert sum(waited) == survivors > 16, "everybody runs through each segment once, until it leaves"
        assert max(waited) == 8 and sum(size < 8 for size in waited) <= 2, waited


def test_without_early_heads_the_whole_encoder_is_one_segment():
    model = configure(shared_float64("bert", "cls"), FULL, L2_NORM, NEVER)
    examples = varied(13)
    predictions = list(model.predict_stream(examples, 4))
    assert {prediction.exit_depth for prediction in predictions} == {3}
    assert_answers(model, examples, predictions)


@pytest.mark.parametrize(("batch_size", "in_flight"), [(1, 1), (4, 4), (4, 6), (4, 16), (4, 500)])
def test_the_stream_is_not_read_further_ahead_than_stated(batch_size, in_flight):
    model = configure(shared_float64("bert", "cls"), FULL, NO_PRUNER, HALF_LEAVE)
    stream = Counted(varied(70))
    predictions = model.predict_stream(stream, batch_size, max_in_flight=in_flight)
    assert stream.read == 0, "nothing is read before the first answer is asked for"
    ahead = []
    for handed_out, _ in enumerate(predictions):
        ahead.append(stream.read - handed_out)
    assert stream.read == len(ahead) == 70
    assert max(ahead) == min(in_flight, 70)


def test_few_wait_at_an_early_head():
    """Hidden states are what fills memory: less than two batches of them wait at a head, whatever is in flight."""
    model = configure(shared_float64("bert", "cls"), FULL, NO_PRUNER, HALF_LEAVE)
    pools = SurvivorPools(model.backbone, model.encoder, protected_id=None, batch_size=4, max_in_flight=200)
    longest = []
    collect = pools._collect

    def recorded(reached):
        answered = collect(reached)
        longest.append(max(map(len, pools._survivors.values()), default=0))
        return answered

    pools._collect = recorded
    assert len(list(pools.predict(varied(300)))) == 300
    assert 4 <= max(longest) < 8


def test_an_infinite_stream():
    model = configure(shared_float64("bert", "cls"), FULL, L2_NORM, HALF_LEAVE)
    examples = varied(20)
    first = list(itertools.islice(model.predict_stream(itertools.cycle(examples), 4), 33))
    assert_answers(model, [*examples, *examples[:13]], first)


def test_an_empty_stream():
    assert list(tiny_adaptive().predict_stream([])) == []


def test_closed_early():
    stream = Counted(itertools.cycle(varied(10)))
    predictions = tiny_adaptive(exit=HALF_LEAVE).predict_stream(stream, 2, max_in_flight=6)
    next(predictions)
    read = stream.read
    predictions.close()
    with pytest.raises(StopIteration):
        next(predictions)
    assert stream.read == read


def test_gradients_are_off_inside_only():
    predictions = tiny_adaptive().predict_stream(varied(3))
    assert not next(predictions).logits.requires_grad
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_tensors_are_taken_like_lists():
    model = configure(shared_float64("bert", "cls"), FULL, NO_PRUNER, NEVER)
    examples = varied(5)
    tensors = [{key: torch.tensor(values) for key, values in example.items()} for example in examples]
    assert_answers(model, examples, model.predict_stream(tensors))


def test_token_types_of_some():
    """Who gives none has type 0, beside others that give some."""
    model = configure(shared_float64("bert", "cls"), FULL, NO_PRUNER, NEVER)
    examples = examples_of([9, 9, 9, 9], seed=3)
    assert any(any(example["token_type_ids"]) for example in examples)
    without = [{"input_ids": example["input_ids"]} for example in examples]
    mixed = [examples[0], without[1], examples[2], without[3]]
    expected = [example | {"token_type_ids": example.get("token_type_ids", [0] * 9)} for example in mixed]
    assert_answers(model, expected, model.predict_stream(mixed))


def test_token_types_where_the_backbone_has_none():
    model = configure(shared_float64("distilbert", "cls"), FULL, NO_PRUNER, NEVER)
    examples = varied(4)
    assert_answers(model, examples, model.predict_stream(examples))


GOOD = {"input_ids": [2, 7, 4]}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("text", r"examples\[5\]: expected a mapping with input_ids, got str"),
        ({"text": "a"}, r"examples\[5\]: expected a mapping with input_ids, got keys \['text'\]"),
        ({"input_ids": []}, r"examples\[5\].input_ids: expected 1 to 40 tokens, got 0"),
        ({"input_ids": [5] * 41}, r"examples\[5\].input_ids: expected 1 to 40 tokens, got 41"),
        (
            {"input_ids": [2, 48]},
            r"examples\[5\].input_ids: expected integers in \[0, 48\), got 2 to 48; does the token",
        ),
        ({"input_ids": [2, -1]}, r"examples\[5\].input_ids: expected integers in \[0, 48\), got -1 to 2"),
        ({"input_ids": [2.5]}, r"examples\[5\].input_ids: expected a list or 1-D tensor of integers, got \[2.5\]"),
        ({"input_ids": None}, r"examples\[5\].input_ids: expected a list or 1-D tensor of integers, got None"),
        ({"input_ids": 7}, r"examples\[5\].input_ids: expected a list or 1-D tensor of integers, got 7"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.long)}, r"examples\[5\].input_ids: .* got shape \(1, 3\)"),
        ({"input_ids": torch.tensor(3)}, r"examples\[5\].input_ids: .* got shape \(\)"),
        (GOOD | {"token_type_ids": [0, 0]}, r"examples\[5\].token_type_ids: expected 3, as many as input_ids, got 2"),
        (
            GOOD | {"token_type_ids": [0, 0, 2]},
            r"examples\[5\].token_type_ids: expected integers in \[0, 2\), got 0 to 2",
        ),
        (GOOD | {"attention_mask": [1, 1, 0]}, r"examples\[5\].attention_mask: expected all ones, 3 as in input_ids"),
        (GOOD | {"attention_mask": [1, 1]}, r"attention_mask: expected all ones, .* got \[1, 1\]"),
        (GOOD | {"attention_mask": 3}, r"examples\[5\].attention_mask: expected all ones, .* got 3"),
        (GOOD | {"attention_mask": "111"}, r"examples\[5\].attention_mask: expected all ones, .* got '111'"),
        ({"input_ids": np.zeros((2, 2))}, r"input_ids: .* got shape \(2, 2\) of float64$"),
        ({"x" * 500: [2]}, r"expected a mapping with input_ids, got keys .{100,120} \.\.\.$"),
    ],
)
def test_a_bad_example_is_named(bad, message):
    predictions = tiny_adaptive().predict_stream(iter([GOOD] * 5 + [bad, GOOD]), 2, max_in_flight=2)
    answered = []
    with pytest.raises(ValueError, match=message):
        answered.extend(iter(lambda: next(predictions), None))


def test_an_error_in_the_stream_comes_out():
    def broken():
        yield GOOD
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(tiny_adaptive().predict_stream(broken()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected an integer of 1 or more, got 0"),
        ({"batch_size": True}, "batch_size: expected an integer of 1 or more, got True"),
        ({"max_in_flight": 31}, "max_in_flight: expected an integer of 32 or more, got 31"),
        ({"batch_size": 4, "max_in_flight": 0}, "max_in_flight: expected an integer of 4 or more, got 0"),
    ],
)
def test_options_are_checked_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_adaptive().predict_stream([], **options)


def test_training_mode_is_refused():
    model = tiny_adaptive()
    with pytest.raises(RuntimeError, match="expected the model in evaluation mode"):
        model.train().predict_stream([])
    predictions = model.eval().predict_stream([GOOD] * 9, 2, max_in_flight=2)
    next(predictions)
    model.train()
    with pytest.raises(RuntimeError, match="expected the model in evaluation mode"):
        list(predictions)


def test_each_head_is_read_once(monkeypatch):
    """One synchronisation at an early head: the mask of who leaves is copied to the host once, and nothing else is."""
    model = configure(shared_float64("bert", "cls"), FULL, L2_NORM, HALF_LEAVE)
    read = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: read.append(tensor.dtype) or tolist(tensor))
    pools = SurvivorPools(model.backbone, model.encoder, protected_id=None, batch_size=8, max_in_flight=8)
    reached = []
    advance = model.encoder.advance
    monkeypatch.setattr(model.encoder, "advance", lambda s, trace: reached.append(advance(s, trace)) or reached[-1])
    assert len(list(pools.predict(varied(8)))) == 8
    early = [one.depth for one in reached if one.depth < 3]
    assert early == [1, 2] and read.count(torch.bool) == 2


@pytest.mark.parametrize("oldest_first", [False, True])
def test_examples_that_arrive_one_by_one_are_answered_as_if_alone(oldest_first):
    """As a server has them: they come while others are under way, and answers leave as soon as they are there."""
    model = configure(shared_float64("bert", "cls", num_layers=5), FULL, L2_NORM, HALF_LEAVE)
    pools, examples, answered, gone = model.survivor_pools(4), varied(30), {}, []
    for index, example in enumerate(examples):
        pools.add(index, example)
        if index % 3 == 0:
            answered |= (now := pools.step(oldest_first=oldest_first))
            gone += list(now)
    while len(pools):
        answered |= (now := pools.step(oldest_first=oldest_first))
        gone += list(now)
    assert sorted(gone) == list(range(30)) and gone != sorted(gone), "each once, and not in their order"
    assert_answers(model, examples, [answered[index] for index in range(30)])
    with pytest.raises(ValueError, match="step: expected examples that wait, got none"):
        pools.step()


def test_the_oldest_does_not_wait_where_it_goes_first():
    """A survivor alone in its pool is overtaken by every pair that comes in, but for where the oldest goes first."""
    model = configure(shared_float64("bert", "cls"), FULL, NO_PRUNER, {"name": "confidence", "threshold": 1.0})
    steps = {}
    for oldest_first in (False, True):
        pools = model.survivor_pools(8)
        pools.add(0, GOOD)
        for step in range(1, 20):
            pools.add(2 * step, GOOD)
            pools.add(2 * step + 1, GOOD)
            if 0 in pools.step(oldest_first=oldest_first):
                steps[oldest_first] = step
                break
    assert steps[True] == 3 < steps[False]
