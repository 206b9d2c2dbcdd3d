"""What says what every head answers: a model in torch, or another engine with the same weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from numpy import ndarray

from eat.models.classifier import AdaptiveForSequenceClassification

Tracer = Callable[[Mapping[str, Any]], tuple[Float[ndarray, "batch heads classes"], Int[ndarray, "batch columns"]]]
"""Runs a packed batch to full depth: logits of every head, and the tokens alive after each depth, as a trace has them.
"""


def model_tracer(model: AdaptiveForSequenceClassification) -> Tracer:
    """Let a model in torch answer, in the precision of its weights; half precision is given in float32."""
    device = next(model.parameters()).device

    def answer(
        batch: Mapping[str, Any],
    ) -> tuple[Float[ndarray, "batch heads classes"], Int[ndarray, "batch columns"]]:
        inputs = {key: batch[key].to(device) for key in ("input_ids", "token_type_ids") if key in batch}
        output = model(**inputs, lengths=batch["lengths"], trace=True)
        logits = output.all_logits
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        return logits.cpu().numpy(), output.tokens_kept.cpu().numpy()

    return answer
