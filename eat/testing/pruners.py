"""Check a pruner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from eat.packed import Packed
from eat.pruners import PRUNERS, Pruner
from eat.testing.checked import Checked, in_models, seeds
from eat.testing.models import check_gradients, check_in_float32, check_in_model, check_saving, make_model
from eat.testing.subject import Arguments, Refused, Subject, subject_of

FIRST, SEPARATOR = 5, 4
EXIT = {"name": "confidence", "threshold": 0.5237}
WINDOWED = {"name": "windowed", "window": 4, "global_tokens": ["cls", "sep"]}


def check_pruner(
    pruner: Any, arguments: Arguments | None = None, *, refused: Refused | None = None, trials: int = 20, seed: int = 0
) -> Checked:
    """Check that a pruner keeps what every pruner promises.

    That are: a mask of booleans in which protected tokens stay, the same for a sequence alone, in any batch and in any
    order; counts as ``lengths_after`` says; nothing changed, nothing remembered; all kept at scale 0; inside a model
    the same answers alone, in a batch and packed, equal to masked tokens; finite gradients; saved and loaded by name.

    Args:
        pruner: Its class, with ``arguments``; a function that builds one; an instance; or a name that the family knows.
        arguments: Of the constructor.
        refused: Values out of range by argument; wrong types are tried anyway.
        trials: Random batches; a quarter of them inside of whole models.
        seed: Of the first of them.

    Returns:
        What was checked, and how many near-ties there were.

    Raises:
        CheckFailedError: With what was checked, what was expected, what came, and the seed.
    """
    with subject_of("pruner", PRUNERS, pruner, arguments) as subject:
        checked = Checked(f"check_pruner({subject.name})")
        built = subject.build()
        _check_protocol(checked, built)
        subject.check_refusals(checked, refused)
        depth = built.depths[0] if built.depths else 1
        for number in seeds(seed, trials):
            with checked.trial(number):
                _check_alone(checked, subject, depth, number)
        layers = max([3, *(last + 1 for last in built.depths)])
        for attention in ({"name": "full"}, WINDOWED):
            model = make_model(num_layers=layers, pruner=subject.spec, exit=EXIT, attention=attention)
            for number in in_models(seed, trials):
                with checked.trial(number):
                    check_in_model(checked, model, number, masked=True)
                    check_in_float32(checked, model, number)
        check_gradients(checked, model, seed)
        check_saving(checked, model, "pruner")
    return checked


def draw_state(lengths: Sequence[int], seed: int, *, equal: bool) -> Packed:
    """Draw packed rows; ``equal`` makes all tokens alike. The third token of each sequence is protected too."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    rows = torch.randn(total, 4, generator=generator, dtype=torch.float64)
    ids = torch.randint(FIRST, 40, (total,), generator=generator)
    received = torch.rand(total, generator=generator, dtype=torch.float64)
    if equal:
        rows, ids, received = rows[:1].repeat(total, 1), ids[:1].repeat(total), received[:1].repeat(total)
    positions = torch.cat([torch.arange(length) for length in lengths])
    ids[positions == 2] = SEPARATOR
    state = Packed.start(rows, ids, positions, lengths, contiguous=True, protected_id=SEPARATOR)
    return state.with_rows(rows, received)


def _check_protocol(checked: Checked, pruner: Any) -> None:
    missing = [name for name in ("depths", "scale", "needs", "lengths_after", "__call__") if not hasattr(pruner, name)]
    checked.expect(isinstance(pruner, Pruner), "it has what eat.pruners.Pruner asks for", "all of it", f"no {missing}")
    checked.same(pruner.scale, 1.0, "it is built with its whole ratio (scale)")
    depths = pruner.depths
    ascending = isinstance(depths, tuple) and list(depths) == sorted({d for d in depths if type(d) is int and d > 0})
    checked.expect(ascending, "depths is a tuple of increasing integers of 1 or more", "such a tuple", depths)


def _check_alone(checked: Checked, subject: Subject, depth: int, seed: int) -> None:
    """Check one drawn batch, the pruner on its own."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 16, (int(torch.randint(1, 6, (), generator=generator)),), generator=generator).tolist()
    pruner, state = subject.build(), draw_state(lengths, seed, equal=seed % 4 == 3)
    rows = state.rows.clone()
    keep = pruner(state, depth)
    form = f"torch.bool of shape {(sum(lengths),)}"
    checked.same(f"{keep.dtype} of shape {tuple(keep.shape)}", form, "it marks tokens")
    checked.expect(bool(keep[state.protected].all()), "protected tokens stay", "True on all of them", keep.tolist())
    checked.same(state.rows, rows, "it only reads the rows")
    counts = [int(part.sum()) for part in keep.split(lengths)]
    told = pruner.lengths_after(state, depth)
    if told is not None:
        checked.same(counts, list(told), "as many tokens stay as lengths_after says")
    for i, part in enumerate(keep.split(lengths)):
        alone = state.keep_sequences(torch.arange(len(lengths)) == i)
        checked.same(pruner(alone, depth), part, "a sequence alone keeps the tokens that it keeps in its batch")
    order = torch.randperm(len(lengths), generator=generator).tolist()
    parts = state.split()
    moved = pruner(Packed.join([parts[i] for i in order]), depth)
    expected = torch.cat([keep.split(lengths)[i] for i in order])
    checked.same(moved, expected, "the order of the sequences does not matter")
    checked.same(pruner(state, depth), keep, "it remembers nothing")
    checked.same(subject.build()(state, depth), keep, "it is a function of its arguments")
    _check_received(checked, pruner, state, depth)
    if pruner.depths:
        pruner.scale = 0.0
        checked.expect(bool(pruner(state, depth).all()), "at scale 0 all tokens stay", "True on all", counts)


def _check_received(checked: Checked, pruner: Any, state: Packed, depth: int) -> None:
    """Expect that attention received is read exactly where it is asked for, at pruning depths."""
    bare = state.with_rows(state.rows)
    if not pruner.needs(depth):
        checked.same(pruner(bare, depth), pruner(state, depth), "attention received is read only where needs() says so")
        return
    checked.expect(not pruner.needs(max(pruner.depths) + 1), "needs() is False where nothing is pruned", False, True)
    fact = "without the attention received that it needs it raises a ValueError"
    try:
        pruner(bare, depth)
    except ValueError as error:
        checked.expect("received" in str(error), fact, "a message that names 'received'", str(error))
    else:
        checked.fail(fact, "a ValueError", "no error")
