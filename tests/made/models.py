"""A tiny random model, a few packed batches for it, and what a trace remembers of their task."""

from typing import Any

import numpy as np
import torch

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.traces.trace import RecordedTask

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
