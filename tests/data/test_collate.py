"""Packed batches against loops."""

import numpy as np
import pytest
import torch

from eat.data.collate import PackingCollator
from eat.data.tokenized import TokenizedSplit

ROWS = [[5, 6, 7], [8], [], [9, 10]]


def split(labels=None, types=True):
    ids = np.array([token for row in ROWS for token in row], dtype=np.int32)
    return TokenizedSplit(ids, np.cumsum([0, *map(len, ROWS)]), ids % 2 if types else None, labels)


@pytest.mark.parametrize("examples", [[0], [3, 0, 1], [2, 2], [0, 1, 2, 3]])
def test_examples_stand_end_to_end(examples):
    batch = PackingCollator(split(np.array([4, 3, 2, 1])))(examples)
    tokens = [token for i in examples for token in ROWS[i]]
    assert batch["input_ids"].tolist() == tokens
    assert batch["token_type_ids"].tolist() == [token % 2 for token in tokens]
    assert batch["lengths"].tolist() == [len(ROWS[i]) for i in examples]
    assert batch["labels"].tolist() == [4 - i for i in examples]
    assert batch["example"].tolist() == examples
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_absent_types_and_labels_stay_absent():
    assert set(PackingCollator(split(types=False))([1])) == {"input_ids", "lengths", "example"}


def test_scores_become_single_precision():
    labels = PackingCollator(split(np.array([0.5, 1.0, 2.5, 5.0])))([2, 0])["labels"]
    assert (labels.dtype, labels.tolist()) == (torch.float32, [2.5, 0.5])


def test_a_batch_shares_no_memory_with_the_split():
    data = split()
    PackingCollator(data)([0])["input_ids"].zero_()
    assert data.input_ids[0] == 5
