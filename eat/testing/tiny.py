"""Tiny random models and batches whose decisions are not near-ties by construction."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification

SEP = 4
FIRST_WORD = 5
VOCABULARY = 48


def randomise(model: torch.nn.Module, seed: int = 0, scale: float = 0.15) -> None:
    """Add noise to every weight: fresh LayerNorms would give all rows the same norm, and all heads the same answer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter))


def tiny_hugging_face(
    model_type: str = "bert",
    *,
    num_layers: int = 3,
    max_length: int = 40,
    num_labels: int = 3,
    dropout: float = 0.0,
    seed: int = 0,
) -> PreTrainedModel:
    """A Hugging Face classifier with random weights, in evaluation mode."""
    config = tiny_config(
        model_type,
        vocab_size=VOCABULARY,
        dim=16,
        num_layers=num_layers,
        num_heads=2,
        intermediate_size=24,
        max_length=max_length,
        dropout=dropout,
    )
    config.num_labels = num_labels
    model = AutoModelForSequenceClassification.from_config(config)
    randomise(model, seed)
    return model.eval()


def tiny_adaptive(
    model_type: str = "bert", *, num_layers: int = 3, max_length: int = 40, seed: int = 0, **options: Any
) -> AdaptiveForSequenceClassification:
    """Our model around a tiny one, every weight random, in float32 and evaluation mode."""
    num_labels = options.setdefault("num_labels", 3)
    options.setdefault("head_depths", list(range(1, num_layers + 1)))
    hugging_face = tiny_hugging_face(
        model_type, num_layers=num_layers, max_length=max_length, num_labels=num_labels, seed=seed
    )
    model = AdaptiveForSequenceClassification.from_backbone(hugging_face, sep_token_id=SEP, seed=seed, **options)
    spread_answers(model)
    return model


def spread_answers(model: AdaptiveForSequenceClassification) -> None:
    """Rescale each head so that its logits differ between sentences: random heads say the same of everything."""
    ids, mask, types = batch_of([3, 5, 8, 13, 21, 11, 2, 7], seed=99, pad=model.backbone.pad_token_id)
    with torch.no_grad():
        for depth, head in model.encoder.heads.items():
            randomise(head, seed=int(depth), scale=0.3)
        logits = model(ids, mask, types_for(model, types), trace=True).all_logits
        for index, head in enumerate(model.encoder.heads.values()):
            mean = logits[:, index].mean(0)
            spread = (logits[:, index] - mean).std()
            head.get_parameter("out.weight").div_(spread)
            head.get_parameter("out.bias").sub_(mean).div_(spread)


def batch_of(
    lengths: Sequence[int], layout: str = "right", *, seed: int = 0, pad: int = 0, width: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Random sentences ([CLS] words [SEP], some with a second [SEP]) as input ids, attention mask and token types.

    Args:
        lengths: Live tokens of each.
        layout: Where padding stands: "right", "left" or "holes" (anywhere, also between tokens).
        seed: Seed of the words and of the holes.
        pad: The padding's id.
        width: Columns; default the longest length, and 3 more for holes.
    """
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths) + (3 if layout == "holes" else 0)
    ids = torch.full((len(lengths), width), pad)
    mask = torch.zeros_like(ids)
    types = torch.zeros_like(ids)
    for i, length in enumerate(lengths):
        columns = {
            "right": torch.arange(length),
            "left": torch.arange(width - length, width),
            "holes": torch.randperm(width, generator=generator)[:length].sort().values,
        }[layout]
        words = torch.randint(FIRST_WORD, VOCABULARY, (length,), generator=generator)
        words[0] = 2
        if length > 1:
            words[-1] = SEP
        if length > 4 and i % 2:
            words[length // 2] = SEP
            types[i, columns[length // 2 + 1 :]] = 1
        ids[i, columns], mask[i, columns] = words, 1
    return ids, mask, types


def pack(ids: Tensor, mask: Tensor, types: Tensor) -> dict[str, Tensor]:
    """The same batch end to end, as the package's collator gives it."""
    live = mask.bool()
    return {"input_ids": ids[live], "token_type_ids": types[live], "lengths": mask.sum(1)}


def types_for(model: AdaptiveForSequenceClassification, types: Tensor) -> Tensor | None:
    """Token types where the backbone has more than one."""
    return types if model.backbone.num_types > 1 else None
