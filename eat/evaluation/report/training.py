"""How the training of the run ended: which weights are measured, and why it stopped."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import in_cell, number, render
from eat.runs.outcome import Compressed, Outcome, read_outcome


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
    if outcome.compression is not None:
        text += f" {_compression_text(outcome.compression)}"
    if outcome.class_weights is None:
        return text
    lines = [[in_cell(name), number(weight, 4)] for name, weight in outcome.class_weights.items()]
    return f"{text}\n\n{render(['class', 'weight of its examples'], lines, markdown=True)}"


def _compression_text(found: Compressed) -> str:
    """Say what is left of the matrices, and how large that would be with the zeros packed away."""
    text = (
        f"Compression {found.name}: the matrices of the encoder's blocks have {found.left:,} of {found.whole:,} weights"
        f" ({found.left / found.whole:.1%})"
    )
    if found.nonzero == found.left:
        return f"{text}."
    saved, packed = 4 * found.left / 1e6, (4 * found.nonzero + found.left / 8) / 1e6
    return (
        f"{text}, of which {found.nonzero:,} ({found.nonzero / found.left:.1%}) are not zero: {saved:.1f} MB as they "
        f"are saved in float32, {packed:.1f} MB if zeros were left out and a bit for each weight said which."
    )
