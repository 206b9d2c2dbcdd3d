"""How the training of the run ended: which weights are measured, and why it stopped."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import in_cell, number, render
from eat.runs.outcome import Outcome, read_outcome


def training_section(run: Evaluation) -> Section | None:
    """Say how the training ended; None of a run that noted nothing."""
    outcome = read_outcome(run.run.folder)
    return None if outcome is None else Section("Training", training_markdown(outcome))


def training_markdown(outcome: Outcome) -> str:
    """Say how long it was, which weights were kept, and why it stopped."""
    ended = outcome.stopped_early or "it ran its whole length"
    if outcome.best_step is None:
        kept = "The last weights are kept: no validation told which are best."
    else:
        kept = (
            f"The weights of step {outcome.best_step:,} are kept, of the best {outcome.metric} on the threshold split, "
            f"{outcome.best_value:.4f}."
        )
    text = f"{outcome.steps:,} steps in {outcome.epochs} epochs: {ended}. {kept}"
    if outcome.class_weights is None:
        return text
    lines = [[in_cell(name), number(weight, 4)] for name, weight in outcome.class_weights.items()]
    return f"{text}\n\n{render(['class', 'weight of its examples'], lines, markdown=True)}"
