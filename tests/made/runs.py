"""A finished run's folder, as a training would leave it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from eat.data.tokenizer import train_tokenizer
from eat.evaluation import evaluate_run
from eat.models.config import MULTI_LABEL
from tests.made.models import EXIT, make_model

WORDS = ("good", "fine", "great", "bad", "poor", "awful", "soup", "film", "the", "was", "very", "not")
SETS = ("good", "bad", "soup")
"""Words that are labels of their own where a run is multi-label."""


def least_config(task: str = "made_up", **more: Any) -> str:
    """Return the text of the shortest ``config.yaml`` that is a run's."""
    values = {"task": {"name": task}, "data": {}, "backbone": {"name": "tiny"}, "exit": {"name": "never"}, "seed": 0}
    return yaml.safe_dump(values | more)


def write_run(
    folder: Path,
    *,
    pruner: dict[str, Any] | None = None,
    exit: dict[str, Any] | None = None,
    regression: bool = False,
    multi_label: bool = False,
    head_depths: Sequence[int] | None = None,
    seed: int = 0,
) -> Path:
    """Write a run folder as a training would leave it, with a random tiny model on a made-up CSV file."""
    pruner, exit = pruner or {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}, exit or EXIT
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = [" ".join(generator.choice(WORDS, size=generator.integers(2, 12))) for _ in range(120)]
    files = {"train": rows[:80], "validation": rows[80:]}
    label = (lambda text: text.count("good")) if regression else (lambda text: "yes" if "good" in text else "no")
    if multi_label:
        label = lambda text: ",".join(str(int(word in text)) for word in SETS)  # noqa: E731
    column = ",".join(SETS) if multi_label else "label"
    for name, texts in files.items():
        lines = [f"{text},{label(text)}" for text in dict.fromkeys(texts)]
        (folder / f"{name}.csv").write_text("\n".join([f"text,{column}", *lines]) + "\n")
    tokenizer = train_tokenizer(rows, 100)
    options: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"} if regression else {}
    if multi_label:
        options = {"id2label": dict(enumerate(SETS)), "num_labels": len(SETS), "problem_type": MULTI_LABEL}
    if head_depths is not None:
        options["head_depths"] = head_depths
    model = make_model(torch.float32, pruner=pruner, exit=exit, **options)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    config = {
        "task": {"name": "file", **{split: str(folder / f"{split}.csv") for split in files}},
        "backbone": {"name": "tiny", "max_length": 32},
        "budget": {"name": "smoke"},
        "exit": exit,
        "objective": {"early_weight": 0.3, "self_weight": 0.0, "teacher": None},
        "experiment": None,
        "seed": 0,
        "data": {
            "max_length": 32,
            "threshold_examples": 8,
            "certification_examples": 10,
            "cache_dir": str(folder.parent),
        },
    }
    config["task"] |= {"label": "label", "kind": "regression" if regression else "classification"}
    config["task"] |= {"label": list(SETS)} if multi_label else {}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {"commit": "abc1234", "threads": 1, "packages": {"torch": "2"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def write_traced_run(folder: Path) -> Path:
    """Write a run and trace it, without figures, which are most of an evaluation's time."""
    write_run(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eat.evaluation.report.section.draw", lambda *_: None)
        evaluate_run(folder, stages=["quality"])
    return folder
