"""Collate packed batches: the tokens of some examples end to end, no padding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eat.data.tokenized import TokenizedSplit


class PackingCollator:
    """Collate examples of a tokenised split, given by their numbers, into a packed batch."""

    def __init__(self, split: TokenizedSplit) -> None:
        self.split = split

    def __call__(self, examples: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch.

        ``input_ids`` and, where the tokenizer gives them, ``token_type_ids`` (tokens,); ``lengths``, ``example`` and,
        where there are any, ``labels`` (batch,), of a multi-label task (batch, labels).
        """
        split = self.split
        numbers = np.asarray(examples, dtype=np.int64)
        starts, ends = split.offsets[numbers], split.offsets[numbers + 1]
        spans = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

        def join(tokens: np.ndarray) -> Tensor:
            return torch.from_numpy(np.concatenate([tokens[span] for span in spans]).astype(np.int64))

        batch = {
            "input_ids": join(split.input_ids),
            "lengths": torch.from_numpy(ends - starts),
            "example": torch.from_numpy(numbers),
        }
        if split.token_type_ids is not None:
            batch["token_type_ids"] = join(split.token_type_ids)
        if split.labels is not None:
            batch["labels"] = label_tensor(split.labels[numbers])
        return batch


def label_tensor(labels: np.ndarray) -> Tensor:
    """Return labels as the losses take them: int64 classes, or float32 scores and rows of 0 and 1."""
    tensor = torch.from_numpy(labels)
    return tensor.float() if tensor.is_floating_point() else tensor.long()
