"""Features are computed once, whatever is killed in between, and are what the live encoder sees."""

import numpy as np
import pytest
import torch

from eat.data.collate import PackingCollator
from eat.data.tokenized import TokenizedSplit
from eat.training import features
from eat.training.features import cache_features, fingerprint
from tests.reference.tiny import tiny_adaptive

EXAMPLES = 23


def make_split(seed=0):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(3, 15, EXAMPLES)
    ids = draw.integers(5, 48, lengths.sum()).astype(np.int32)
    return TokenizedSplit(ids, np.concatenate(([0], np.cumsum(lengths))), None, draw.integers(0, 3, EXAMPLES))


@pytest.fixture
def model():
    return tiny_adaptive(pruner={"name": "l2_norm", "depths": [1], "ratio": 0.4}, head_pooling="mean")


@pytest.fixture
def calls(model, monkeypatch):
    """Count the examples that the encoder is given, in files of 8."""
    monkeypatch.setattr(features, "CHUNK", 8)
    seen = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(kwargs["lengths"])), with_kwargs=True, prepend=True
    )
    return seen


def test_heads_on_cached_features_answer_as_the_live_encoder_with_its_pruning(model, calls, tmp_path):
    split = make_split()
    cached = cache_features(model, split, tmp_path, "train", 4)
    numbers = np.array([17, 3, 22, 8, 7])
    records = cached[numbers]
    with torch.no_grad():
        live = model(
            **{k: v for k, v in PackingCollator(split)(numbers.tolist()).items() if k in ("input_ids", "lengths")},
            trace=True,
        )
        for place, depth in enumerate((1, 2)):
            pooled = torch.from_numpy(np.ascontiguousarray(records["pooled"][:, place]))
            answer = model.encoder.heads[str(depth)].answer(pooled)
            torch.testing.assert_close(answer, live.all_logits[:, place], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(records["final_logits"].copy()), live.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(records["tokens_kept"], live.tokens_kept)
    assert (records["tokens_kept"][:, 1] < records["tokens_kept"][:, 0]).any()
    assert len(cached) == EXAMPLES


def test_the_encoder_sees_each_example_once(model, calls, tmp_path):
    first = cache_features(model, make_split(), tmp_path, "train", 4)
    assert sum(calls) == EXAMPLES
    again = cache_features(model, make_split(), tmp_path, "train", 4)
    assert sum(calls) == EXAMPLES
    np.testing.assert_array_equal(again[np.arange(EXAMPLES)], first[np.arange(EXAMPLES)])
    assert isinstance(again.chunks[0], np.memmap)


def test_a_killed_pass_goes_on_and_a_damaged_file_is_made_anew(model, calls, tmp_path, monkeypatch, caplog):
    compute = features._compute

    def killed(model, split, numbers, batch_size):
        if numbers.start == 16:
            raise KeyboardInterrupt
        return compute(model, split, numbers, batch_size)

    with monkeypatch.context() as patch:
        patch.setattr(features, "_compute", killed)
        with pytest.raises(KeyboardInterrupt):
            cache_features(model, make_split(), tmp_path, "train", 4)
    assert sum(calls) == 16
    whole = cache_features(model, make_split(), tmp_path, "train", 4)
    assert sum(calls) == EXAMPLES
    expected = whole[np.arange(EXAMPLES)]
    damaged = tmp_path / "train-00000008.npy"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    np.testing.assert_array_equal(
        cache_features(model, make_split(), tmp_path, "train", 4)[np.arange(EXAMPLES)], expected
    )
    assert sum(calls) == EXAMPLES + 8
    assert "computed anew" in caplog.text
    assert not list(tmp_path.glob("*.partial"))


def test_the_fingerprint_is_of_frozen_weights_options_and_tokens(model):
    split = make_split()
    name = fingerprint(model, [split])
    with torch.no_grad():
        model.encoder.heads["1"].out.bias.add_(1)  # an early head: trained on the features, not part of them
    model.set_exit(name="confidence", threshold=0.5)
    assert fingerprint(model, [split]) == name
    assert fingerprint(model, [split, split]) != name
    assert fingerprint(model, [make_split(seed=1)]) != name
    model.set_pruner(name="none")
    unpruned = fingerprint(model, [split])
    assert unpruned != name
    with torch.no_grad():
        model.encoder.blocks[1].inner.bias[3] += 1
    assert fingerprint(model, [split]) != unpruned
