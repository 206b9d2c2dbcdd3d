"""What is known of the demo's sentences: do hard ones leave later, and does the pruner drop the word that decides?"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from eat.data import TextDataModule
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.packed import Packed
from eat.pruners import Pruner
from eat.traces.replay import Replay
from eat.traces.trace import Trace

NO_CUE = -1
STAYS = 0


class PruningLog:
    """Passes a pruner's decisions on and notes after which depth each token left.

    ``dropped`` holds (example in the batch, position, depth) of every token that left since the list was last cleared.
    """

    def __init__(self, pruner: Pruner) -> None:
        self.pruner = pruner
        self.depths = pruner.depths
        self.scale = pruner.scale
        self.needs = pruner.needs
        self.lengths_after = pruner.lengths_after
        self.dropped: list[tuple[int, int, int]] = []

    def __call__(self, state: Packed, depth: int) -> Bool[Tensor, " tokens"]:
        """Ask the pruner and write down what leaves."""
        keep = self.pruner(state, depth)
        leaves = (~keep).nonzero().squeeze(1)
        sequences, positions = state.sequence[leaves].tolist(), state.positions[leaves].tolist()
        self.dropped += [(state.example[s], p, depth) for s, p in zip(sequences, positions, strict=True)]
        return keep


@contextmanager
def logged_pruning(model: AdaptiveForSequenceClassification) -> Iterator[PruningLog]:
    """Let a log listen to a model's pruner for a while."""
    pruner = model.encoder.pruner
    log = PruningLog(pruner)
    model.encoder.pruner = log
    try:
        yield log
    finally:
        model.encoder.pruner = pruner


def cue_depths(dropped: Sequence[tuple[int, int, int]], cues: Sequence[Sequence[int]]) -> Int[np.ndarray, " examples"]:
    """Say after which depth the last token of each example's cue left: `STAYS` for never, `NO_CUE` where there is none.

    ``dropped`` holds (example, position, depth) of every token that left, ``cues`` the positions of each cue's tokens.
    """
    left_at = {(example, position): depth for example, position, depth in dropped}
    depths = np.full(len(cues), NO_CUE)
    for example, positions in enumerate(cues):
        if positions:
            left = [left_at.get((example, position), STAYS) for position in positions]
            depths[example] = STAYS if STAYS in left else max(left)
    return depths


def difficulty_rows(trace: Trace, run: Replay) -> list[tuple[str, int, float, float, float | None]]:
    """Tabulate an operating point by difficulty; the trace has this column and, where it was logged, ``cue_depth``.

    The rows are (difficulty, examples, accuracy, mean exit depth, share of cues dropped before the exit or None),
    easiest first.
    """
    difficulty = trace.columns["difficulty"].astype(str)
    right = run.logits.argmax(axis=1) == trace.labels
    cue = trace.columns.get("cue_depth")
    rows = []
    for name in dict.fromkeys(difficulty[np.argsort(run.exit_depth, kind="stable")].tolist()):
        there = difficulty == name
        dropped = None
        if cue is not None and (cue[there] != NO_CUE).any():
            has_cue = there & (cue != NO_CUE)
            gone = (cue[has_cue] != STAYS) & (cue[has_cue] < run.exit_depth[has_cue])
            dropped = float(gone.mean())
        rows.append((name, int(there.sum()), float(right[there].mean()), float(run.exit_depth[there].mean()), dropped))
    return sorted(rows, key=lambda row: row[3])


def cue_positions(data: TextDataModule, split: str) -> list[list[int]]:
    """Find the tokens of the cue in each sentence of the demo; an empty list for other data."""
    rows = data.splits[split]
    if "cue_start" not in rows.column_names:
        return []
    return [
        token_positions(data.tokenizer, text, start, len(cue))
        for text, start, cue in zip(rows["text"], rows["cue_start"], rows["cue"], strict=True)
    ]


def token_positions(tokenizer: PreTrainedTokenizerBase, text: str, start: int, length: int) -> list[int]:
    """Return the positions of the tokens that overlap ``text[start : start + length]``; none where start is below 0."""
    if start < 0:
        return []
    offsets: Sequence[tuple[int, int]] = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    return [i for i, (low, high) in enumerate(offsets) if low < start + length and high > start and high > low]
