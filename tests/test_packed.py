import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.packed import AdaptiveOutput, Packed

LENGTHS = [4, 1, 3]


def packed(lengths=LENGTHS, **options):
    total = sum(lengths)
    return Packed.start(
        rows=torch.arange(total, dtype=torch.float64).unsqueeze(1),
        token_ids=torch.arange(total) + 10,
        positions=torch.cat([torch.arange(length) for length in lengths]),
        host_lengths=lengths,
        contiguous=True,
        **options,
    )


def test_start():
    state = packed()
    assert state.example == (0, 1, 2) and state.host_lengths == (4, 1, 3) and state.extents == (4, 1, 3)
    assert state.protected.int().tolist() == [1, 0, 0, 0, 1, 1, 0, 0]
    assert state.lengths.tolist() == [4, 1, 3] and state.starts.tolist() == [0, 4, 5]
    assert state.sequence.tolist() == [0, 0, 0, 0, 1, 2, 2, 2]
    assert state.num_protected == (1, 1, 1) and state.received is None


def test_start_protects_an_id():
    state = packed(protected_id=12)
    assert state.protected.int().tolist() == [1, 0, 1, 0, 1, 1, 0, 0]
    assert state.num_protected == (2, 1, 1)


def test_start_with_holes():
    positions = torch.tensor([2, 3, 7, 9, 0, 4, 5, 6])
    state = Packed.start(torch.zeros(8, 1), torch.zeros(8, dtype=torch.long), positions, LENGTHS, contiguous=False)
    assert state.extents == (8, 1, 3)


def test_keep_tokens():
    state = packed().with_rows(torch.zeros(8, 1), received=torch.arange(8.0))
    mask = torch.tensor([1, 0, 1, 1, 1, 1, 0, 1], dtype=torch.bool)
    for after in (state.keep_tokens(mask), state.keep_tokens(mask, (3, 1, 2))):
        assert after.token_ids.tolist() == [10, 12, 13, 14, 15, 17]
        assert after.positions.tolist() == [0, 2, 3, 0, 0, 2], "positions are the original ones"
        assert after.received.tolist() == [0, 2, 3, 4, 5, 7]
        assert after.host_lengths == (3, 1, 2) and after.starts.tolist() == [0, 3, 4]
        assert after.extents == state.extents and after.example == state.example
    assert state.token_ids.shape == (8,), "the record before is untouched"


def test_keeping_all_is_the_same_record():
    state = packed()
    assert state.keep_tokens(torch.ones(8, dtype=torch.bool)) is state
    assert state.keep_sequences(torch.ones(3, dtype=torch.bool)) is state


def test_no_sequence_may_lose_its_last_token():
    mask = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1], dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mask: expected at least one token kept in each sequence, got \[3, 0, 2\]"):
        packed().keep_tokens(mask)


def test_keep_sequences():
    state = packed(protected_id=16).keep_sequences(torch.tensor([False, True, True]))
    assert state.example == (1, 2) and state.host_lengths == (1, 3) and state.num_protected == (1, 2)
    assert state.token_ids.tolist() == [14, 15, 16, 17] and state.sequence.tolist() == [0, 1, 1, 1]
    last = state.keep_sequences(torch.tensor([False, True]))
    assert last.example == (2,) and last.starts.tolist() == [0]
    nobody = last.keep_sequences(torch.tensor([False]))
    assert nobody.rows.shape == (0, 1) and nobody.example == ()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data())
def test_order_of_leaving_does_not_matter(lengths, data):
    state = packed(lengths)
    tokens = torch.tensor(data.draw(st.lists(st.booleans(), min_size=sum(lengths), max_size=sum(lengths))))
    tokens = tokens | state.protected
    sequences = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    one = state.keep_tokens(tokens).keep_sequences(sequences)
    other = state.keep_sequences(sequences)
    if other.host_lengths:
        other = other.keep_tokens(tokens[sequences[state.sequence]])
    for name in ("rows", "token_ids", "positions", "protected"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    for name in ("example", "host_lengths", "extents", "num_protected"):
        assert getattr(one, name) == getattr(other, name)


def test_what_is_cached_goes_when_rows_leave():
    state = packed()
    assert state.cached(None, "x", lambda: 1) == 1 and state.cached(None, "x", lambda: 2) == 1
    assert state.with_rows(state.rows).cached(None, "x", lambda: 2) == 1, "shared by blocks over the same rows"
    assert state.cached("another part", "x", lambda: 3) == 3
    assert state.keep_sequences(torch.tensor([True, False, True])).cached(None, "x", lambda: 2) == 2


def test_retention():
    output = AdaptiveOutput(
        tokens_kept=torch.tensor([[8, 6, 4, 0], [5, 0, 0, 0], [10, 7, 0, 0]]), exit_depth=torch.tensor([3, 1, 2])
    )
    assert output.retention.tolist() == pytest.approx([0.5, 1.0, 0.7])
    with pytest.raises(ValueError, match="retention: needs tokens_kept and exit_depth"):
        _ = AdaptiveOutput(logits=torch.zeros(1, 2)).retention


@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=4), st.booleans())
def test_split_and_joined_again(parts, received):
    states = [packed(lengths, protected_id=12) for lengths in parts]
    if received:
        states = [state.with_rows(state.rows, state.rows.squeeze(1).float()) for state in states]
    joined = Packed.join(states)
    assert joined.host_lengths == tuple(n for lengths in parts for n in lengths)
    again = Packed.join([one for state in states for one in state.split()])
    for name in ("rows", "token_ids", "positions", "protected", "received"):
        expected = None if getattr(states[0], name) is None else torch.cat([getattr(state, name) for state in states])
        for actual in (getattr(joined, name), getattr(again, name)):
            assert actual is expected if expected is None else torch.equal(actual, expected)
    for name in ("example", "host_lengths", "extents", "num_protected"):
        assert getattr(again, name) == getattr(joined, name)
        assert getattr(joined, name) == sum((getattr(state, name) for state in states), ())
    assert joined.sequence.tolist() == [i for i, n in enumerate(joined.host_lengths) for _ in range(n)]


def test_a_part_does_not_keep_the_whole_in_memory():
    for part in packed().split():
        assert part.rows.untyped_storage().nbytes() == part.rows.nbytes


def test_keep_sequences_that_the_host_knows():
    mask = torch.tensor([False, True, True])
    expected, actual = packed().keep_sequences(mask), packed().keep_sequences(mask, [False, True, True])
    assert actual.example == expected.example and torch.equal(actual.rows, expected.rows)
