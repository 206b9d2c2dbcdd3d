"""How a training ended, written and read back; what is damaged is named."""

import dataclasses
import json

import pytest

from eat.evaluation.report.training import training_markdown
from eat.runs.outcome import FILE, Compressed, Outcome, read_outcome

PRUNED = Compressed("magnitude", 1_000_000, 1_000_000, 250_000)
OUTCOME = Outcome(steps=1200, epochs=3, metric="macro_f1", best_step=800, best_value=0.91, stopped_early=None)


def test_it_is_read_as_it_was_written(tmp_path):
    assert read_outcome(tmp_path) is None
    weighted = dataclasses.replace(OUTCOME, class_weights={"spam": 5.0, "a|b": 0.5})
    for outcome in (OUTCOME, weighted, dataclasses.replace(OUTCOME, compression=PRUNED)):
        outcome.write(tmp_path)
        assert read_outcome(tmp_path) == outcome


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", -1),
        ("epochs", "3"),
        ("metric", None),
        ("best_step", 1.5),
        ("best_value", "x"),
        ("stopped_early", 3),
        ("class_weights", [1]),
        ("class_weights", {"a": "x"}),
        ("compression", 3),
        ("compression.left", {"compression": {"name": "magnitude", "whole": 3, "left": "x", "nonzero": 1}}),
    ],
)
def test_what_is_damaged_is_named(tmp_path, key, value):
    OUTCOME.write(tmp_path)
    facts = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(facts | (value if "." in key else {key: value})))
    with pytest.raises(ValueError, match=f"training.json: {key}: expected .*delete it, and the report leaves it out"):
        read_outcome(tmp_path)


def test_the_report_says_which_weights_and_why_it_stopped():
    text = training_markdown(OUTCOME)
    assert text.startswith("1,200 steps in 3 epochs: it ran its whole length. The weights of step 800 are kept")
    assert "macro_f1 on the threshold split, 0.9100" in text
    weighted = training_markdown(dataclasses.replace(OUTCOME, class_weights={"spam": 5.0, "a|b": 0.5}))
    assert r"| a\|b  |" in weighted and "5.0000" in weighted
    pruned = training_markdown(dataclasses.replace(OUTCOME, compression=PRUNED))
    assert "have 1,000,000 of 1,000,000 weights (100.0%), of which 250,000 (25.0%) are not zero: 4.0 MB" in pruned
    assert "1.1 MB if zeros" in pruned  # 250,000 numbers of 4 bytes, 1,000,000 bits
    narrowed = training_markdown(dataclasses.replace(OUTCOME, compression=Compressed("structured", 800, 400, 400)))
    assert narrowed.endswith(
        "Compression structured: the matrices of the encoder's blocks have 400 of 800 weights (50.0%)."
    )
    last = Outcome(steps=9, epochs=1, metric="loss", best_step=None, best_value=None, stopped_early="stopped early: x")
    assert training_markdown(last).startswith("9 steps in 1 epochs: stopped early: x. The last weights are kept")
