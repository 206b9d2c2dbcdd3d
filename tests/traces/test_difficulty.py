"""How late the demo's hard sentences leave, and whether the word that decides was pruned before."""

from collections.abc import Callable

import numpy as np
import torch

from eat.data.tokenizer import train_tokenizer
from eat.exits.points import OperatingPoint
from eat.traces.difficulty import NO_CUE, STAYS, cue_depths, difficulty_rows, logged_pruning, token_positions
from eat.traces.replay import replay
from eat.traces.trace import Trace
from tests.made.models import make_batches, make_model


def test_log_notes_what_leaves_and_changes_nothing() -> None:
    model, batch = make_model(), make_batches(8)[0]
    with torch.inference_mode():
        plain = model(batch["input_ids"], lengths=batch["lengths"], trace=True)
        with logged_pruning(model) as log:
            logged = model(batch["input_ids"], lengths=batch["lengths"], trace=True)
    assert torch.equal(plain.all_logits, logged.all_logits)
    assert model.pruner is log.pruner
    for depth in (1, 2):
        before, after = plain.tokens_kept[:, depth - 1], plain.tokens_kept[:, depth]
        dropped = np.bincount([example for example, _, d in log.dropped if d == depth], minlength=8)
        assert dropped.tolist() == (before - after).tolist()
    assert len({(example, position) for example, position, _ in log.dropped}) == len(log.dropped)


def test_cue_is_gone_when_its_last_token_is() -> None:
    dropped = [(0, 3, 2), (0, 4, 4), (1, 3, 2), (2, 7, 2)]
    cues = [[3, 4], [3, 4], [5], []]
    assert cue_depths(dropped, cues).tolist() == [4, STAYS, STAYS, NO_CUE]


def test_table_by_hand(made_trace: Callable[..., Trace]) -> None:
    sure, unsure = [0.0, 9.0], [0.0, 0.1]
    trace = made_trace(
        [[sure, sure], [unsure, sure], [unsure, sure], [sure, sure]],
        [1, 1, 0, 1],
        (2, 4),
        columns={
            "difficulty": np.array(["plain", "negated", "negated", "negated"]),
            "cue_depth": np.array([NO_CUE, 3, STAYS, 3]),  # the last leaves at depth 2, before its cue does
        },
    )
    rows = difficulty_rows(trace, replay(trace, OperatingPoint.of({"name": "confidence", "threshold": 0.9})))
    assert rows == [("plain", 1, 1.0, 2.0, None), ("negated", 3, 2 / 3, 10 / 3, 1 / 3)]


def test_positions_of_a_word() -> None:
    text = "It was not good."
    tokenizer = train_tokenizer([text], 60)
    positions = token_positions(tokenizer, text, text.index("not"), 3)
    ids = tokenizer(text)["input_ids"]
    assert "".join(tokenizer.convert_ids_to_tokens([ids[i] for i in positions])).replace("##", "") == "not"
    assert token_positions(tokenizer, text, -1, 0) == []
