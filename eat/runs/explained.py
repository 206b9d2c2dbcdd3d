"""Explain what a finished run's model does to one text."""

from pathlib import Path

from eat.checks import folder_name, number_of_texts
from eat.data.tokenizer import read_tokenizer
from eat.explanation import Explanation, explain
from eat.files import write_text
from eat.runs.finished import FinishedRun


def explain_run(
    run: str | Path,
    text: str,
    *,
    text_pair: str | None = None,
    output: str | Path | None = None,
    device: str = "auto",
) -> Explanation:
    """Explain what a run's model does to one text, at its own operating point, the certified one where it has one.

    Args:
        run: The folder of a finished run, with its weights.
        text: The text, everything behind the equals sign as it is.
        text_pair: The second text, for tasks on pairs; likewise as it is.
        output: A file of HTML to write, with shaded words; what was there is replaced. None writes none.
        device: "auto" takes the first GPU where there is one; else a torch device.

    Raises:
        FileNotFoundError: If the run, or its weights or tokenizer, are not there.
        ValueError: If an argument is out of range, or the run's folder is damaged.
        OSError: If ``output`` cannot be written.
    """
    file = None if output is None else Path(folder_name("output", output))
    if file is not None and (file.suffix not in (".html", ".htm") or file.is_dir()):
        raise ValueError(f"output: expected a file whose name ends in .html, got {str(output)!r}")
    finished = FinishedRun(run)
    model = finished.load_model(device)
    number_of_texts(model.config.num_texts, 1 if text_pair is None else 2, "the second text", "a text")
    tokenizer = read_tokenizer(finished.folder / "model", "take a whole copy of the run")
    longest = finished.config["backbone"].get("max_length")
    explained = explain(model, tokenizer, text, text_pair, max_length=longest)
    if file is not None:
        write_text(file, explained.to_html())
    return explained
