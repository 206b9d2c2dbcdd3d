"""Collate packed batches: the tokens of some examples end to end, no padding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eat.data.tokenized import TokenizedSplit


class PackingCollator:
    """Collate examples, given by their numbers, into a packed batch.

    Args:
        split: The tokenised examples.
    """

    def __init__(self, split: TokenizedSplit) -> None:
        self.split = split

    def __call__(self, examples: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch.

        ``input_ids`` and, where the tokenizer gives them, ``token_type_ids`` (tokens,); ``lengths``, ``example`` and,
        where there are any, ``labels`` (batch,).
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
            labels = torch.from_numpy(split.labels[numbers])
            batch["labels"] = labels.float() if labels.is_floating_point() else labels.long()
        return batch
