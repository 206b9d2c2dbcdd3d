"""A plain Hugging Face classifier that reads the mean of the tokens, as our heads may; Hugging Face's read [CLS]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from eat.backbones import BACKBONES
from eat.backbones.base import Backbone


class MeanPooledConfig(PreTrainedConfig):
    """Configuration of a `MeanPooledForSequenceClassification`.

    Its model type is its own: under the encoder's, Hugging Face's class would load the weights and read [CLS].

    Attributes:
        encoder: Hugging Face's configuration of the encoder, as plain values; its ``model_type`` says which one.
    """

    # Hugging Face writes an __init__ that takes more keys than its signature says; checks by signature must not apply.
    __no_type_check__ = True

    model_type = "eat_mean_pooled"

    encoder: dict[str, Any] | None = None

    @property
    def encoder_config(self) -> PreTrainedConfig:
        """The encoder's configuration, with our labels, as Hugging Face's class of it.

        Raises:
            ValueError: If it is not that of a known encoder.
        """
        values = dict(self.encoder or {})
        model_type = BACKBONES.checked("config.encoder.model_type", values.pop("model_type", None))
        return AutoConfig.for_model(model_type, **values | _labels(self))

    @property
    def shape(self) -> Backbone:
        """The encoder's shape, which says what its classification head looks like."""
        config = self.encoder_config
        return BACKBONES[config.model_type].from_hf_config(config)


class MeanPooledForSequenceClassification(PreTrainedModel):
    """Hugging Face's own encoder on padded batches, the mean of the real tokens, and a classification head.

    ``to_hugging_face`` makes it of a model whose last head reads the mean, with the shape and activation of the
    encoder's own head. Nothing of ours computes in it. ``AutoModelForSequenceClassification.from_pretrained`` and
    pipelines load a saved one once ``eat`` is imported, and refuse it otherwise.
    """

    config_class = MeanPooledConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    config: MeanPooledConfig

    def __init__(self, config: MeanPooledConfig) -> None:
        super().__init__(config)
        shape = config.shape
        # SDPA is what an encoder takes of itself where it has it; MPNet has not, and would refuse to be asked.
        attention = None if config._attn_implementation == "sdpa" else config._attn_implementation
        self.encoder = AutoModel.from_config(
            config.encoder_config, attn_implementation=attention, dtype=torch.get_default_dtype()
        )
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # reads [CLS], for nobody
        self.before = nn.Dropout(shape.head_dropout if shape.dropout_before_dense else 0.0)
        self.dense = nn.Linear(shape.dim, shape.dim)
        self.activation = shape.head_nonlinearity()
        self.dropout = nn.Dropout(shape.head_dropout)
        self.out = nn.Linear(shape.dim, len(config.id2label or {}))
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch width"],
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, "batch width"] | None = None,
        *,
        labels: Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """Classify a padded batch; arguments, further options and output are those of Hugging Face's classifiers."""
        if token_type_ids is not None:
            options["token_type_ids"] = token_type_ids
        read = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **options)
        pooled = _mean(read.last_hidden_state, attention_mask)
        logits = self.out(self.dropout(self.activation(self.dense(self.before(pooled)))))
        loss = None if labels is None else self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=read.hidden_states, attentions=read.attentions
        )


def mean_pooled(config: PreTrainedConfig) -> MeanPooledForSequenceClassification:
    """Build the classifier, with random weights, from a configuration of Hugging Face's own."""
    labels = _labels(config)
    encoder = {key: value for key, value in config.to_dict().items() if key not in labels}
    return MeanPooledForSequenceClassification(MeanPooledConfig(encoder=encoder, **labels))


def mean_pooled_names(config: MeanPooledConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of Hugging Face's own classifier, as `weights_to_hf` gives them, under this one's names."""
    backbone = config.shape
    named = {}
    for name, tensor in weights.items():
        part = next((ours for ours, theirs in backbone.head_names.items() if name.startswith(f"{theirs}.")), None)
        kind = name.rpartition(".")[2]
        named[f"encoder.{name.removeprefix(f'{backbone.prefix}.')}" if part is None else f"{part}.{kind}"] = tensor
    return named


def plain_names(config: MeanPooledConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of such a classifier under the names that they have in Hugging Face's own."""
    backbone = config.shape
    named = {}
    for name, tensor in weights.items():
        part, _, kind = name.partition(".")
        named[f"{backbone.prefix if part == 'encoder' else backbone.head_names[part]}.{kind}"] = tensor
    return named


def _labels(config: PreTrainedConfig) -> dict[str, Any]:
    return {"id2label": config.id2label, "label2id": config.label2id, "problem_type": config.problem_type}


def _mean(rows: Float[Tensor, "batch width dim"], mask: Tensor | None) -> Float[Tensor, "batch dim"]:
    """Return the mean over the tokens that the mask, if there is one, calls real."""
    if mask is None:
        return rows.mean(1)
    real = mask.to(rows.dtype).unsqueeze(2)
    return (rows * real).sum(1) / real.sum(1)
