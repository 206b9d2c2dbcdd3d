import torch
from hypothesis import given
from hypothesis import strategies as st

from eat.ops.grouping import SLACK_ROWS, SLACK_SHARE, group_sequences

CPU = torch.device("cpu")

sequences = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 2)), min_size=1, max_size=20)


def grouped(items):
    lengths = [length for length, _ in items]
    kinds = [(kind,) for _, kind in items]
    multiples = [16 if kind == 2 else 1 for _, kind in items]
    return lengths, kinds, multiples, group_sequences(lengths, kinds, multiples, device=CPU)


@given(sequences)
def test_rows_go_out_and_come_back(items):
    lengths, _, _, grouping = grouped(items)
    rows = torch.arange(sum(lengths))
    padded = rows if grouping.gather is None else rows[grouping.gather]
    back = padded if grouping.scatter is None else padded[grouping.scatter]
    assert torch.equal(back, rows)
    assert (grouping.gather is None) == (grouping.scatter is None)


@given(sequences)
def test_each_sequence_is_one_row_of_one_group(items):
    lengths, kinds, multiples, grouping = grouped(items)
    assert sorted(i for group in grouping.groups for i in group.sequences) == list(range(len(lengths)))
    starts = torch.tensor(lengths).cumsum(0) - torch.tensor(lengths)
    rows = torch.arange(sum(lengths))
    padded = rows if grouping.gather is None else rows[grouping.gather]
    expected_start = 0
    for group in grouping.groups:
        assert group.start == expected_start
        expected_start += group.num_rows
        assert len({kinds[i] for i in group.sequences}) == 1
        assert group.width % multiples[group.sequences[0]] == 0
        table = padded[group.start : group.start + group.num_rows].view(len(group.sequences), group.width)
        for row, i in enumerate(group.sequences):
            assert table[row, : lengths[i]].tolist() == list(range(starts[i], starts[i] + lengths[i]))
            if group.valid is None:
                assert lengths[i] == group.width
            else:
                assert group.valid[row].tolist() == [True] * lengths[i] + [False] * (group.width - lengths[i])
    assert expected_start == len(padded)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30))
def test_padding_is_bounded(lengths):
    grouping = group_sequences(lengths, [(0,)] * len(lengths), [1] * len(lengths), device=CPU)
    for group in grouping.groups:
        live = sum(lengths[i] for i in group.sequences)
        assert group.num_rows - live <= max(SLACK_ROWS.value(), SLACK_SHARE * live)


def test_equal_lengths_need_no_indices():
    grouping = group_sequences([7, 7, 7], [(0,)] * 3, [1] * 3, device=CPU)
    assert len(grouping.groups) == 1
    assert grouping.gather is None and grouping.scatter is None and grouping.groups[0].valid is None


def test_a_sequence_alone_needs_no_padding():
    grouping = group_sequences([7], [(0,)], [1], device=CPU)
    assert [(group.width, group.valid) for group in grouping.groups] == [(7, None)]
