"""Check an export: on the same texts it answers as the model that it was made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eat.benchmark.engines import Encoded
from eat.benchmark.engines.engine import joined
from eat.deployment import OnnxClassifier
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.testing.checked import CheckFailedError
from eat.testing.masked import MaskedClassifier
from eat.traces.quality import predictions, same_answers

WITHIN = 1e-4
"""How far logits of a float32 export may lie from the model's, over the largest logit where that is above 1."""
NEAR_TIE = 1e-4
"""A text is a near-tie where an exit, a cut or its label hangs on a smaller difference: rounding may decide it."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far an export answers as its model does.

    Attributes:
        texts: Texts that both answered, at each batch size.
        batch_sizes: Batch sizes of both.
        labels: Texts with another label.
        depths: Texts that leave at another depth.
        tokens: Texts of which other numbers of tokens were kept, up to the depth at which both were still there.
        difference: Largest difference of logits among texts with the same depth and tokens.
        differ: Texts with another label, depth or number of tokens, or with logits further off than was allowed.
        near_ties: Texts among them that are near-ties.
    """

    texts: int
    batch_sizes: tuple[int, ...]
    labels: int
    depths: int
    tokens: int
    difference: float
    differ: int
    near_ties: int

    def __str__(self) -> str:
        """One line."""
        sizes = " and ".join(map(str, self.batch_sizes))
        found = f"{self.texts - self.differ} of {self.texts} texts are answered alike in batches of {sizes}"
        if self.differ:
            found += (
                f"; {self.labels} have another label, {self.depths} another exit, {self.tokens} other tokens, "
                f"{self.near_ties} of these are near-ties ({self.near_ties / self.texts:.2%} of all)"
            )
        return f"{found}; logits lie within {self.difference:.1g} where exits and tokens are the same"


def check_export(
    model: AdaptiveForSequenceClassification,
    export: str | Path | OnnxClassifier,
    examples: Sequence[Encoded],
    batch_sizes: Sequence[int] = (1, 32),
) -> Agreement:
    """Check that a float32 export answers as its model on texts: labels, exits, tokens kept, and logits within 1e-4.

    Near-ties, which rounding may decide, are counted apart: texts with an exit, a cut or a label that hangs on less
    than `NEAR_TIE`, as a slow reference in float64 finds it.

    Args:
        model: The model, with the exit, pruner and temperatures that were exported.
        export: The folder, or what was loaded from it.
        examples: ``input_ids`` and perhaps ``token_type_ids`` of each text.
        batch_sizes: Each is answered in batches of so many.

    Returns:
        How far they agree.

    Raises:
        CheckFailedError: If a text that is no near-tie is answered otherwise; names the first.
    """
    agreement, others = compare_export(model, export, examples, batch_sizes)
    if others:
        raise CheckFailedError(
            f"check_export: expected the model's answer to every text that is no near-tie, got another for "
            f"{len(others)}, the first of them text {others[0]}: {agreement}"
        )
    return agreement


def compare_export(
    model: AdaptiveForSequenceClassification,
    export: str | Path | OnnxClassifier,
    examples: Sequence[Encoded],
    batch_sizes: Sequence[int] = (1, 32),
    within: float = WITHIN,
) -> tuple[Agreement, list[int]]:
    """Compare as `check_export` does; also return which texts differ and are no near-ties.

    ``within`` is how far logits may lie apart, over the largest one where that is above 1: infinite for int8.
    """
    if not examples:
        raise ValueError("examples: expected at least one text, got none")
    served = (
        export if isinstance(export, OnnxClassifier) else OnnxClassifier.from_folder(export, torch.get_num_threads())
    )
    model.eval()
    count, multi_label = len(examples), model.config.multi_label
    labels, depths, tokens, far = (np.zeros(count, dtype=bool) for _ in range(4))
    difference = 0.0
    for size in batch_sizes:
        for start in range(0, count, size):
            batch, place = examples[start : start + size], slice(start, start + size)
            columns, lengths = joined(batch)
            (theirs, left, kept), (ours, exits, stay) = _answers(model, served, columns, lengths)
            both = np.arange(kept.shape[1]) < np.minimum(left, exits)[:, None]
            depths[place] |= left != exits
            tokens[place] |= ((kept != stay) & both).any(axis=1)
            if theirs.shape[1] > 1 or multi_label:
                labels[place] |= ~same_answers(*(predictions(logits, multi_label) for logits in (theirs, ours)))
            same = ~(depths[place] | tokens[place])
            off = np.abs(theirs - ours).max(axis=1)
            far[place] |= same & (off > within * max(1.0, float(np.abs(theirs).max())))
            difference = max(difference, float(off[same].max(initial=0.0)))
    decided = labels | depths | tokens
    differ = np.flatnonzero(decided | far)
    near = {index for index in np.flatnonzero(decided).tolist() if _closest(model, examples[index]) <= NEAR_TIE}
    agreement = Agreement(
        texts=count,
        batch_sizes=tuple(batch_sizes),
        labels=int(labels.sum()),
        depths=int(depths.sum()),
        tokens=int(tokens.sum()),
        difference=difference,
        differ=len(differ),
        near_ties=len(near),
    )
    return agreement, [index for index in differ.tolist() if index not in near]


Answers = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Logits, exit depths and tokens kept of a batch."""


def _answers(
    model: AdaptiveForSequenceClassification,
    served: OnnxClassifier,
    columns: Mapping[str, Sequence[int]],
    lengths: Sequence[int],
) -> tuple[Answers, Answers]:
    """Answer a batch with the model and with its export."""
    with torch.inference_mode():
        own = model(**{key: torch.tensor(values) for key, values in columns.items()}, lengths=lengths)
    other = served.run(columns["input_ids"], lengths, columns.get("token_type_ids"))
    theirs = (own.logits.float().numpy(), own.exit_depth.numpy(), own.tokens_kept.numpy())
    return theirs, (other.logits, other.exit_depth, other.tokens_kept)


def _closest(model: AdaptiveForSequenceClassification, example: Encoded) -> float:
    """Return the smallest difference that an exit, a cut or the label of a text hangs on."""
    types = torch.tensor([example["token_type_ids"]]) if "token_type_ids" in example else None
    output = MaskedClassifier(model)(torch.tensor([example["input_ids"]]), None, types)
    return min(float(output.closest_decision[0]), label_gap(output.logits, model.config.multi_label))


def label_gap(logits: Tensor, multi_label: bool) -> float:
    """Return how far one text's logits, (1, classes), may move before its label changes."""
    if multi_label:
        return float(logits.abs().min())
    best = logits[0].sort(descending=True).values
    return float("inf") if len(best) < 2 else float(best[0] - best[1])
