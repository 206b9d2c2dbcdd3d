"""What binary weights take on disk, and what they do not save."""

import torch

from eat.evaluation.context import Evaluation
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import render
from eat.models.binary import disk_bytes
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import AdaptiveConfig

SPEED = (
    "No kernel here computes with one bit: loading makes dense float32 numbers of the signs, and time and memory are "
    "those of the float product."
)


def weights_section(run: Evaluation) -> Section | None:
    """Lay out bytes on disk, as they follow from the model's shape; None where no weights are binary."""
    config = AdaptiveConfig.from_dict(dict(run.traces.reported.config))
    if config.weights is None:
        return None
    with torch.device("meta"):
        sizes = disk_bytes(AdaptiveForSequenceClassification(config))
    lines = [
        [part, f"{before:,}", f"{after:,}", f"{before / after:.1f}x smaller"] for part, (before, after) in sizes.items()
    ]
    table = render(["bytes on disk, without the file's header", "float32", "as stored", "ratio"], lines, markdown=True)
    what = "dense layers of the blocks" + (" and table of words" if config.weights["embeddings"] else "")
    return Section("Binary weights", f"{table}\n\nOne bit a weight: {what}. {SPEED}")
