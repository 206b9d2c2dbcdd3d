"""What a part promises inside of a whole model: alone as in any batch, removed as masked, saved as loaded."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.packed import AdaptiveOutput
from eat.runs.finished import no_progress_bars
from eat.testing.checked import CLOSE, EXACT, NEAR_TIE, Checked
from eat.testing.masked import MaskedClassifier
from eat.testing.tiny import batch_of, pack, tiny_adaptive, types_for

Inputs = tuple[Tensor, Tensor, Tensor]
"""Input ids, attention mask and token types, padded."""
MAX_LENGTH = 22
LAYOUTS = ("right", "left", "holes")


def make_model(seed: int = 0, **options: Any) -> AdaptiveForSequenceClassification:
    """Build a tiny model in float64, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return tiny_adaptive(seed=seed, **options).double()


def draw_batch(model: AdaptiveForSequenceClassification, seed: int) -> Inputs:
    """Draw one to six sentences of 1 to 22 tokens, padded on either side or with holes."""
    generator = torch.Generator().manual_seed(seed)
    batch = int(torch.randint(1, 7, (), generator=generator))
    lengths = torch.randint(1, MAX_LENGTH + 1, (batch,), generator=generator).tolist()
    layout = LAYOUTS[int(torch.randint(len(LAYOUTS), (), generator=generator))]
    return batch_of(lengths, layout, seed=seed, pad=model.backbone.pad_token_id)


def answer(model: AdaptiveForSequenceClassification, inputs: Sequence[Tensor], **options: Any) -> AdaptiveOutput:
    """Classify a padded batch."""
    ids, mask, types = inputs
    with torch.no_grad():
        return model(ids, mask, types_for(model, types), **options)


def check_in_model(checked: Checked, model: AdaptiveForSequenceClassification, seed: int, *, masked: bool) -> None:
    """Check one drawn batch in float64; ``masked`` compares with the slow masked encoder too."""
    inputs = draw_batch(model, seed)
    together = answer(model, inputs)
    check_bookkeeping(checked, model, together)
    batch = len(inputs[0])
    for i in range(batch):
        alone = answer(model, [part[i : i + 1] for part in inputs])
        same_answers(checked, alone, together, [i], "a text alone is answered as in its batch")
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed)).tolist()
    moved = answer(model, [part[order] for part in inputs])
    same_answers(checked, moved, together, order, "the order of a batch does not matter")
    right = without_holes(model, inputs)
    packed = pack(*right)
    if types_for(model, right[2]) is None:
        del packed["token_type_ids"]
    with torch.no_grad():
        end_to_end = model(**packed)
    same_answers(checked, end_to_end, answer(model, right), range(batch), "packed input is answered as padded input")
    same_answers(checked, answer(model, inputs), together, range(batch), "the same batch is answered the same twice")
    if masked:
        slow = MaskedClassifier(model)(inputs[0], inputs[1], types_for(model, inputs[2]))
        fact = "removed tokens and sequences equal masked ones"
        same_answers(checked, together, slow, range(batch), fact)


def check_in_float32(checked: Checked, model: AdaptiveForSequenceClassification, seed: int) -> None:
    """Check one drawn batch in float32, where near-ties are counted and left to rounding."""
    inputs, single = draw_batch(model, seed), copy.deepcopy(model).float()
    clear = MaskedClassifier(model)(inputs[0], inputs[1], types_for(model, inputs[2])).closest_decision > NEAR_TIE
    together = answer(single, inputs)
    checked.examples += len(clear)
    checked.near_ties += int((~clear).sum())
    for i in clear.nonzero().squeeze(1).tolist():
        alone = answer(single, [part[i : i + 1] for part in inputs])
        fact = "in float32 a text alone is answered as in its batch, near-ties aside"
        same_answers(checked, alone, together, [i], fact, within=CLOSE)


def same_answers(
    checked: Checked, got: Any, expected: Any, rows: Sequence[int], fact: str, within: float = EXACT
) -> None:
    """Expect the rows of an output as another one's: exits and counts equal, logits close."""
    rows = list(rows)
    checked.same(got.exit_depth.tolist(), expected.exit_depth[rows].tolist(), f"{fact} (exit_depth)")
    checked.same(got.tokens_kept.tolist(), expected.tokens_kept[rows].tolist(), f"{fact} (tokens_kept)")
    checked.same(got.logits, expected.logits[rows], f"{fact} (logits)", within)


def check_bookkeeping(checked: Checked, model: AdaptiveForSequenceClassification, output: AdaptiveOutput) -> None:
    """Expect that tokens never come back, that the first stays, and that each sequence exits at a head."""
    kept, depths = output.tokens_kept, output.exit_depth
    if kept is None or depths is None:
        checked.fail("a model counts", "tokens_kept and exit_depth", output)
    checked.expect(bool((kept.diff(dim=1) <= 0).all()), "kept tokens never grow", "counts that fall", kept.tolist())
    alive = kept.gather(1, (depths - 1).unsqueeze(1))
    checked.expect(bool((alive >= 1).all()), "a sequence keeps a token until it exits", "1 or more", alive.tolist())
    at_heads = set(depths.tolist()) <= set(model.head_depths)
    checked.expect(at_heads, "every sequence exits at a head", model.head_depths, depths.tolist())


def check_gradients(checked: Checked, model: AdaptiveForSequenceClassification, seed: int) -> None:
    """Expect that a training step reaches every weight with a finite gradient."""
    trained = copy.deepcopy(model).train()
    ids, mask, types = draw_batch(model, seed)
    labels = torch.arange(len(ids)) % max(2, model.config.num_outputs)
    if model.config.multi_label:
        labels = torch.nn.functional.one_hot(labels, model.config.num_outputs).double()
    trained.zero_grad()
    trained(ids, mask, types_for(model, types), labels=labels).loss.backward()
    for name, parameter in trained.named_parameters():
        gradient = parameter.grad
        if gradient is not None:
            checked.expect(bool(gradient.isfinite().all()), "gradients are finite", "finite numbers", name)
    heads = [head.get_parameter("out.weight").grad for head in trained.encoder.heads.values()]
    taught = all(gradient is not None for gradient in heads)
    checked.expect(taught, "a training step reaches every head", "a gradient", heads)


def check_saving(checked: Checked, model: AdaptiveForSequenceClassification, key: str) -> None:
    """Expect that a saved model names its part, and answers bit for bit when it is loaded."""
    inputs = draw_batch(model, 0)
    with tempfile.TemporaryDirectory(prefix="eat-check-") as folder, no_progress_bars():
        model.save_pretrained(folder)
        loaded = AdaptiveForSequenceClassification.from_pretrained(folder, dtype=torch.float64)
    checked.same(getattr(loaded.config, key), getattr(model.config, key), f"config.{key} is saved as it was")
    before, after = answer(model, inputs), answer(loaded, inputs)
    same_answers(checked, after, before, range(len(inputs[0])), "a loaded model answers as the saved one", within=0.0)


def without_holes(model: AdaptiveForSequenceClassification, inputs: Inputs) -> Inputs:
    """Move the live tokens of each sentence to the left end."""
    live = inputs[1].bool()
    width = int(live.sum(1).max())
    moved = []
    for part, pad in zip(inputs, (model.backbone.pad_token_id, 0, 0), strict=True):
        rows = [row[alive] for row, alive in zip(part, live, strict=True)]
        moved.append(torch.stack([torch.nn.functional.pad(row, (0, width - len(row)), value=pad) for row in rows]))
    ids, mask, types = moved
    return ids, mask, types
