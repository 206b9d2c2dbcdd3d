"""The certificate inside the saved model: in its configuration, where loading applies it, and on its card."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from transformers import AutoConfig

from eat.backbones.loading import is_classifier
from eat.backbones.weights import resolve_weights
from eat.evaluation.certify.certificate import Certificate
from eat.files import write_text
from eat.models.engines import EngineId
from eat.models.fingerprint import model_fingerprint
from eat.models.granted import with_digest
from eat.runs.engines import EngineState
from eat.runs.finished import FinishedRun

BEGIN, END = "<!-- certificate: written by evaluate.py -->", "<!-- end of certificate -->"


def store_certificate(run: FinishedRun, certificate: Certificate, text: str) -> Certificate:
    """Write a certificate into a run's saved model, which from then on loads at the certified point.

    The run's own operating point in ``config.yaml``, which its report is about, stays what it was, and so do the
    traces: they hold for every exit. Each file is replaced whole or not at all, and writing twice changes nothing.
    ``text`` is what the model card says of it, as Markdown. The certificate comes back with the model's fingerprint.

    That of another engine than eat's own goes into ``engines/``, beside the saved model, which stays as it is.
    """
    engine = EngineId(certificate.engine, certificate.bits)
    if not engine.is_eat:
        return _store_beside(run, certificate, engine)
    folder = run.folder / "model"
    stored = dataclasses.replace(certificate, model=model_fingerprint(run.load_model("cpu", certified=False)))
    config = run.model_config() | {"exit": certificate.exit.spec, "certificate": with_digest(stored.to_json())}
    config.pop("rules", None)  # what is certified is the model without them
    write_text(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")  # as Hugging Face does
    card = folder / "README.md"
    write_text(card, with_section(card.read_text(encoding="utf-8") if card.is_file() else new_card(run.name), text))
    return stored


def _store_beside(run: FinishedRun, certificate: Certificate, engine: EngineId) -> Certificate:
    model, _ = run.model_of(engine, certified=False)
    stored = dataclasses.replace(certificate, model=engine.model_fingerprint(model))
    granted = with_digest(stored.to_json())
    EngineState(run.raw_fingerprint(engine), model.temperatures, granted).write(run.folder, engine)
    return stored


def fallback(reference: FinishedRun, chosen: FinishedRun) -> dict[str, Any] | None:
    """Say how the certified model falls back to the full depth of the reference, which its losses are to.

    None where both are one run; else ``pruner``: the one that the same weights run with there, or None for it where the
    weights are others.
    """
    if chosen.folder.resolve() == reference.folder.resolve():
        return None
    same = reference.has_weights and reference.weights_digest() == chosen.weights_digest()
    return {"pruner": reference.model_config()["pruner"] if same else None}


def caveat(run: FinishedRun) -> str | None:
    """Say what a certificate rests on where a run's weights started from a fine-tuned classifier, or may have.

    None where they did not, or all training before was our own and held the split out.
    """
    backbone, source = run.config["backbone"], run.config.get("retrofit")
    named = source or backbone.get("path")
    if named is not None and _held_out_alike(run, before := _run_folder(run, Path(named))):
        return caveat(FinishedRun(before))
    begun = "were fine-tuned elsewhere"
    if source is None:
        if named is None and backbone.get("hub") is None:
            return None
        try:
            found = resolve_weights(backbone["name"], path=named, hub=backbone.get("hub"))
            if not is_classifier(AutoConfig.from_pretrained(found, trust_remote_code=False, local_files_only=True)):
                return None
        except (OSError, ValueError):
            if named is None:  # the hub's encoder of that name, which is no longer in the cache
                return None
            begun = "started from a checkpoint that cannot be read any more"
    return (
        f"The weights {begun} ({Path(named or backbone['hub']).name}): the certificate holds only if none of the rows "
        "of the certification split were among what they were trained on."
    )


def _run_folder(run: FinishedRun, named: Path) -> Path:
    """Return the folder of the run that a path names, also by its ``model/``; beside this run where both were moved."""
    folder = named.parent if named.name == "model" else named
    beside = run.folder.parent / folder.name
    return beside if beside.is_dir() and not folder.is_dir() else folder


def _held_out_alike(run: FinishedRun, source: Path) -> bool:
    """Return True where what a run started from is a run of ours that held out the same rows."""
    try:
        theirs = FinishedRun(source).config
    except (OSError, ValueError):  # no run, or one that is not whole any more
        return False
    keys = ("threshold_examples", "certification_examples", "root")
    held_out = [(c["task"], c["seed"], [c["data"].get(key) for key in keys]) for c in (run.config, theirs)]
    return held_out[0] == held_out[1]


def with_section(card: str, text: str) -> str:
    """Put a certificate's section into a model card, in the place of an older one."""
    section = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if pattern.search(card):
        return pattern.sub(lambda _: section, card)
    return f"{card.rstrip()}\n\n{section}\n"


def new_card(name: str) -> str:
    """Begin a model card."""
    data = ModelCardData(library_name="transformers", pipeline_tag="text-classification", tags=["eat", "early-exit"])
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {name}\n\nA text classifier in which tokens are pruned and sequences leave "
        "early. After `import eat`, `AutoModelForSequenceClassification.from_pretrained` loads it.\n"
    )
