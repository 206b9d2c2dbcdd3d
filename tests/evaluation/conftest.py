"""A tiny random model and a few packed batches, for everything in this folder."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from eat.backbones.tiny import tiny_config
from eat.data.tokenizer import train_tokenizer
from eat.evaluation.trace import RecordedTask, Trace, record_trace
from eat.models.classifier import AdaptiveForSequenceClassification

TASK = RecordedTask("made_up", "classification", ("no", "yes"), ("accuracy",), 2)
EXIT = {"name": "confidence", "threshold": 0.6}
Batch = dict[str, torch.Tensor]


def make_model(dtype: torch.dtype = torch.float64, **options: Any) -> AdaptiveForSequenceClassification:
    """Build a tiny model whose heads disagree, so that some examples leave early and some do not."""
    options = {"pruner": {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}, "head_depths": [1, 2, 3]} | options
    options = {"num_labels": 2, "exit": EXIT, "seed": 0} | options
    model = AdaptiveForSequenceClassification.from_backbone(tiny_config(), **options)
    with torch.no_grad():
        for head in model.encoder.heads.values():
            head.out.weight.mul_(150)
    return model.to(dtype).eval()


def make_batches(num_examples: int = 40, batch_size: int = 8, seed: int = 0, vocab_size: int = 128) -> list[Batch]:
    """Build packed batches of random token ids with random labels."""
    generator = np.random.default_rng(seed)
    batches = []
    for start in range(0, num_examples, batch_size):
        example = torch.arange(start, min(start + batch_size, num_examples))
        lengths = torch.from_numpy(generator.integers(3, 25, size=len(example)))
        batches.append(
            {
                "input_ids": torch.from_numpy(generator.integers(5, vocab_size, size=int(lengths.sum()))),
                "lengths": lengths,
                "labels": torch.from_numpy(generator.integers(0, 2, size=len(example))),
                "example": example,
            }
        )
    return batches


@pytest.fixture(scope="module")
def model() -> AdaptiveForSequenceClassification:
    return make_model()


@pytest.fixture(scope="module")
def trace(model: AdaptiveForSequenceClassification) -> Trace:
    return record_trace(model, make_batches(), TASK, metadata={"split": "validation", "config": model.config.to_dict()})


@pytest.fixture
def made_trace() -> Callable[..., Trace]:
    """Build a trace from given logits, as if a model had said them."""

    def make(all_logits: Any, labels: Any, head_depths: tuple[int, ...], tokens_kept: Any = None, **more: Any) -> Trace:
        logits = np.asarray(all_logits, dtype=np.float64)
        if tokens_kept is None:
            tokens_kept = np.full((len(logits), head_depths[-1] + 1), 10)
            tokens_kept[:, -1] = 0
        return Trace(
            labels=np.asarray(labels),
            all_logits=logits,
            tokens_kept=np.asarray(tokens_kept),
            head_depths=head_depths,
            task=more.pop("task", TASK),
            **more,
        )

    return make


@pytest.fixture
def ticking() -> Callable[[list[float]], Callable[[], float]]:
    """Build a clock that moves on by the given durations, one for each timed call."""

    def make(durations: list[float]) -> Callable[[], float]:
        def ticks() -> Iterator[float]:
            now = 0.0
            for duration in durations:
                yield now
                now += duration
                yield now

        times = ticks()
        return lambda: next(times)

    return make


WORDS = ("good", "fine", "great", "bad", "poor", "awful", "soup", "film", "the", "was", "very", "not")


def write_run(
    folder: Path,
    *,
    pruner: dict[str, Any] | None = None,
    exit: dict[str, Any] | None = None,
    regression: bool = False,
    seed: int = 0,
) -> Path:
    """Write a run folder as a training would leave it, with a random tiny model on a made-up CSV file."""
    pruner, exit = pruner or {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}, exit or EXIT
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = [" ".join(generator.choice(WORDS, size=generator.integers(2, 12))) for _ in range(120)]
    files = {"train": rows[:80], "validation": rows[80:]}
    label = (lambda text: text.count("good")) if regression else (lambda text: "yes" if "good" in text else "no")
    for name, texts in files.items():
        lines = [f"{text},{label(text)}" for text in dict.fromkeys(texts)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    tokenizer = train_tokenizer(rows, 100)
    options = {"num_labels": 1, "problem_type": "regression"} if regression else {}
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
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {"commit": "abc1234", "threads": 1, "packages": {"torch": "2"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder
