"""A Hugging Face pipeline that says of each answer where it left as well."""

from __future__ import annotations

from typing import Any

from transformers import TextClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.packed import AdaptiveOutput

TASK = "adaptive-text-classification"


class AdaptiveTextClassificationPipeline(TextClassificationPipeline):
    """Text classification with the depth at which each text left, and the share of its tokens that were left then.

        import eat
        from transformers import pipeline

        classify = pipeline("adaptive-text-classification", model="runs/sst2/.../model")
        classify("a fine film")  # [{'label': ..., 'score': ..., 'exit_depth': 2, 'retention': 0.7}]

    It takes and returns what `transformers.TextClassificationPipeline` does; each answer has two keys more. With
    ``top_k`` the labels of a text share them. In a padded batch each text leaves by itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.model, AdaptiveForSequenceClassification):
            raise ValueError(
                f"model: expected one of eat's for the pipeline {TASK!r}, got {type(self.model).__name__}, which runs "
                "every text to the end; take 'text-classification'"
            )

    def postprocess(self, model_outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return label, score, ``exit_depth`` (0 for the embeddings) and ``retention``, in the last block that ran."""
        answer: Any = super().postprocess(model_outputs, *args, **kwargs)
        output = AdaptiveOutput(**model_outputs)
        assert output.exit_depth is not None
        left = {"exit_depth": int(output.exit_depth.item()), "retention": float(output.retention.item())}
        return answer | left if isinstance(answer, dict) else [one | left for one in answer]


def register() -> None:
    """Let `transformers.pipeline` know the task; once is enough."""
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK, AdaptiveTextClassificationPipeline, pt_model=AdaptiveForSequenceClassification, type="text"
        )
