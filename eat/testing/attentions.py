"""Check an attention part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eat.attention import ATTENTIONS, Attention
from eat.packed import Packed
from eat.testing.checked import EXACT, Checked, in_models, seeds
from eat.testing.models import check_gradients, check_in_model, check_saving, make_model
from eat.testing.subject import Arguments, Refused, Subject, subject_of

HEADS, HEAD_DIM = 2, 4
PRUNER = {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}
EXIT = {"name": "confidence", "threshold": 0.5237}
Visible = Callable[[Tensor, Tensor], Tensor]
"""Positions (tokens,) and which tokens are global (tokens,) of one sequence -> (tokens, tokens), True where seen."""


def check_attention(
    attention: Any,
    arguments: Arguments | None = None,
    *,
    visible: Visible | None = None,
    refused: Refused | None = None,
    trials: int = 20,
    seed: int = 0,
) -> Checked:
    """Check that an attention part keeps what every attention promises.

    That are: [CLS] is global; a sequence attends the same alone, in any batch and in any order, with holes that pruning
    left; attention received is given on demand, sums to one per query and changes nothing else; finite gradients;
    inside a model the same answers alone, in a batch and packed; saved and loaded by name. With ``visible`` also: equal
    to dense attention under that mask.

    Args:
        attention: Its class, with ``arguments``; a function that builds one; an instance; or a name.
        arguments: Of the constructor.
        visible: Who sees whom in one sequence.
        refused: Values out of range by argument; wrong types are tried anyway.
        trials: Random batches; a quarter of them inside of whole models.
        seed: Of the first of them.

    Returns:
        What was checked; without ``visible`` it says in ``left_out`` that nothing was compared with dense attention.

    Raises:
        CheckFailedError: With what was checked, what was expected, what came, and the seed.
    """
    with subject_of("attention", ATTENTIONS, attention, arguments) as subject:
        checked = Checked(f"check_attention({subject.name})")
        _check_protocol(checked, subject.build())
        subject.check_refusals(checked, refused)
        for number in seeds(seed, trials):
            with checked.trial(number):
                _check_alone(checked, subject, visible, number)
        model = make_model(attention=subject.spec, pruner=PRUNER, exit=EXIT)
        for number in in_models(seed, trials):
            with checked.trial(number):
                check_in_model(checked, model, number, masked=False)
        check_gradients(checked, model, seed)
        check_saving(checked, model, "attention")
        if visible is None:
            checked.left_out.append("equality with dense attention under a mask: give visible=")
    return checked


def draw_attention(seed: int) -> tuple[Tensor, Packed]:
    """Draw queries, keys and values of one to five sequences, some with holes as pruning leaves them."""
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 6, (), generator=generator))
    lengths = torch.randint(1, 61, (count,), generator=generator).tolist()
    total = sum(lengths)
    positions = torch.cat([torch.arange(length) for length in lengths])
    rows = torch.zeros(total, 1, dtype=torch.float64)
    state = Packed.start(rows, torch.full((total,), 9), positions, lengths, contiguous=True)
    qkv = torch.randn(total, 3, HEADS, HEAD_DIM, generator=generator, dtype=torch.float64)
    if seed % 2:
        keep = (torch.rand(total, generator=generator) > 0.4) | state.protected
        state, qkv = state.keep_tokens(keep), qkv[keep]
    return qkv, state


def dense_attention(qkv: Tensor, state: Packed, visible: Visible) -> tuple[Tensor, Tensor]:
    """Attend each sequence under its whole mask; return the mixed rows and the attention received."""
    mixed, received, lengths = [], [], list(state.host_lengths)
    parts = zip(qkv.split(lengths), state.positions.split(lengths), state.protected.split(lengths), strict=True)
    for rows, positions, is_global in parts:
        q, k, v = rows.permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) / math.sqrt(HEAD_DIM)
        weights = scores.masked_fill(~visible(positions, is_global), -math.inf).softmax(-1)
        mixed.append((weights @ v).transpose(0, 1).flatten(1))
        received.append(weights.mean(0).sum(0))
    return torch.cat(mixed), torch.cat(received)


def _check_protocol(checked: Checked, attention: Any) -> None:
    missing = [name for name in ("global_tokens", "pairs", "__call__") if not hasattr(attention, name)]
    fact = "it has what eat.attention.Attention asks for"
    checked.expect(isinstance(attention, Attention), fact, "all of it", f"no {missing}")
    checked.expect("cls" in attention.global_tokens, "[CLS] attends to all", "'cls'", attention.global_tokens)
    checked.same(attention.pairs(1, 1, 1), 1, "a token alone costs one pair")
    counts = {length: attention.pairs(length, length, 1) for length in range(1, 600, 7)}
    enough = all(pairs >= length for length, pairs in counts.items())
    checked.expect(enough, "each token costs a pair at least", "pairs(length, ...) >= length", counts)


def _check_alone(checked: Checked, subject: Subject, visible: Visible | None, seed: int) -> None:
    attention, (qkv, state) = subject.build(), draw_attention(seed)
    lengths, tokens = list(state.host_lengths), len(qkv)
    qkv.requires_grad_()
    mixed, received = attention(qkv, state, dropout=0.0, received=True)
    if received is None:
        checked.fail("attention received is given on demand", "one number per token", None)
    shapes = [tuple(mixed.shape), tuple(received.shape)]
    checked.same(shapes, [(tokens, HEADS * HEAD_DIM), (tokens,)], "it mixes rows of the heads' width")
    checked.expect(not received.requires_grad, "attention received needs no gradient", False, True)
    fused, nothing = attention(qkv, state, dropout=0.0, received=False)
    checked.same(nothing, None, "attention received is not given unasked")
    checked.same(fused, mixed, "asking for attention received changes nothing else", EXACT)
    totals = torch.stack([part.sum() for part in received.split(lengths)])
    each = torch.tensor(lengths, dtype=torch.float64)
    checked.same(totals, each, "every query gives away an attention of 1, in its own sequence", EXACT)
    (gradient,) = torch.autograd.grad(mixed.square().sum(), qkv)
    checked.expect(bool(gradient.isfinite().all()), "gradients are finite", "finite numbers", gradient)
    qkv = qkv.detach()
    for i, (part, expected, scores) in enumerate(
        zip(qkv.split(lengths), mixed.split(lengths), received.split(lengths), strict=True)
    ):
        alone = state.keep_sequences(torch.arange(len(lengths)) == i).uncached()
        one, one_received = attention(part, alone, dropout=0.0, received=True)
        checked.same(one, expected, "a sequence attends alone as in its batch", EXACT)
        checked.same(one_received, scores, "a sequence alone receives what it receives in its batch", EXACT)
        if lengths[i] == 1:
            checked.same(one, part[:, 2].flatten(1), "a token alone attends to itself", EXACT)
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
    moved = Packed.join([state.split()[i] for i in order])
    joined = torch.cat([qkv.split(lengths)[i] for i in order])
    again, _ = attention(joined, moved, dropout=0.0, received=False)
    expected = torch.cat([mixed.split(lengths)[i] for i in order])
    checked.same(again, expected, "the order of the sequences does not matter", EXACT)
    if visible is not None:
        dense, dense_received = dense_attention(qkv, state, visible)
        checked.same(mixed, dense, "it equals dense attention under the mask", EXACT)
        checked.same(received, dense_received, "attention received equals that of dense attention", EXACT)
