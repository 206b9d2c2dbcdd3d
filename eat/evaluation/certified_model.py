"""The certificate inside the saved model: in its configuration, where loading applies it, and on its card."""

import json
import re
from collections.abc import Mapping
from typing import Any

from eat.evaluation.finished import FinishedRun
from eat.files import write_text
from eat.models.certificate import model_fingerprint

BEGIN, END = "<!-- certificate: written by evaluate.py -->", "<!-- end of certificate -->"


def store_certificate(run: FinishedRun, certificate: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Write a certificate into a run's saved model, which from then on loads at the certified point.

    The run's own operating point in ``config.yaml``, which its report is about, stays what it was, and so do the
    traces: they hold for every exit. Each file is replaced whole or not at all, and writing twice changes nothing.

    Args:
        run: The run, with weights that its traces were made with.
        certificate: What `eat.evaluation.certify.make_certificate` granted.
        text: What the model card says of it, as Markdown.

    Returns:
        The certificate with the fingerprint of the model that it is about.
    """
    folder = run.folder / "model"
    stored = {**certificate, "model": model_fingerprint(run.load_model("cpu"))}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"exit": certificate["exit"], "certificate": stored}
    write_text(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")  # as Hugging Face does
    card = folder / "README.md"
    write_text(card, with_section(card.read_text(encoding="utf-8") if card.is_file() else new_card(run.name), text))
    return stored


def with_section(card: str, text: str) -> str:
    """Put a certificate's section into a model card, in the place of an older one."""
    section = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if pattern.search(card):
        return pattern.sub(lambda _: section, card)
    return f"{card.rstrip()}\n\n{section}\n"


def new_card(name: str) -> str:
    """Begin a model card."""
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags: [eat, early-exit]\n---\n\n"
        f"# {name}\n\nA text classifier in which tokens are pruned and sequences leave early. After `import eat`, "
        "`AutoModelForSequenceClassification.from_pretrained` loads it.\n"
    )
