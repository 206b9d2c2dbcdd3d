"""The Hugging Face model around the encoder loop."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from eat.attention import build_attention
from eat.backbones import build_backbone
from eat.backbones.loading import load_backbone, to_hugging_face
from eat.exits import build_exit
from eat.models.config import AdaptiveConfig
from eat.models.cost import CostModel
from eat.models.encoder import AdaptiveEncoder
from eat.models.parts import ReplaceableParts
from eat.models.serving import Serving
from eat.modules.linear import Linear
from eat.ops.losses import joint_cross_entropy, joint_mean_squared_error
from eat.packed import AdaptiveOutput
from eat.pruners import build_pruner

log = logging.getLogger(__name__)

# EAT's lambda_4 (eq. 1): the weight of each early head in the loss that `labels=` gives in training; the last has 1.
EARLY_HEAD_WEIGHT = 0.3
# Bytes to which torch aligns CPU tensors.
ALIGNMENT = 64


class AdaptiveForSequenceClassification(Serving, ReplaceableParts):
    """Text classifier in which tokens are pruned and sequences exit early (EAT, arXiv:2510.12856).

    Build it with :meth:`from_backbone` from a Hugging Face encoder, or load a saved one with :meth:`from_pretrained`.

    Args:
        config: What :meth:`from_backbone` writes.
    """

    config_class = AdaptiveConfig
    base_model_prefix = "encoder"
    config: AdaptiveConfig

    def __init__(self, config: AdaptiveConfig) -> None:
        super().__init__(config)
        config.check()
        self.backbone = build_backbone(config.backbone or {})
        attention = build_attention(config.attention or {})
        heads = config.heads or {}
        self.encoder = AdaptiveEncoder(
            self.backbone.embeddings(),
            [self.backbone.block(attention) for _ in range(self.backbone.num_layers)],
            {depth: self.backbone.head(config.num_outputs, config.head_pooling(depth)) for depth in heads["depths"]},
            build_pruner(config.pruner or {}),
            build_exit(config.exit or {}),
        )
        self._protected_id = self.backbone.sep_token_id if "sep" in attention.global_tokens else None
        self._arrange_temperatures()
        self.post_init()

    @classmethod
    def from_backbone(
        cls,
        backbone: str | Path | PreTrainedModel | PreTrainedConfig,
        *,
        num_labels: int | None = None,
        num_layers: int | None = None,
        attention: Mapping[str, Any] | None = None,
        pruner: Mapping[str, Any] | None = None,
        exit: Mapping[str, Any] | None = None,
        head_depths: Sequence[int] | str | None = None,
        head_pooling: str = "cls",
        final_head_pooling: str | None = None,
        max_length: int | None = None,
        sep_token_id: int | None = None,
        id2label: Mapping[int, str] | None = None,
        problem_type: str | None = None,
        seed: int | None = None,
    ) -> AdaptiveForSequenceClassification:
        """Put a Hugging Face encoder's weights into an adaptive classifier; without options it is the plain model.

        Args:
            backbone: A hub name, a local folder, a loaded model, or a config (then all weights are random).
            num_labels: Classes, 1 for regression; default: what a fine-tuned checkpoint has, else 2.
            num_layers: Keep the first so many layers; default all.
            attention: ``{"name": "full"}`` or ``{"name": "windowed", "window": 32, ...}``.
            pruner: ``{"name": "l2_norm", "depths": [2, 4], "ratio": 0.3}``, ...; default none.
            exit: ``{"name": "confidence", "threshold": 0.9}``, ...; default never.
            head_depths: Depths with an exit head, or "all"; the last is added. Default: all where some can exit, else
                the last.
            head_pooling: "cls" or "mean" (over the tokens still alive).
            final_head_pooling: What a fine-tuned checkpoint's own head was trained to read, where the early heads may
                read otherwise; it is then kept as it is. Default: ``head_pooling``, and a checkpoint's own head, which
                mostly reads [CLS], is kept with "cls" only.
            max_length: Longest input; a longer position table than the checkpoint's is made by tiling it.
            sep_token_id: The separator's id where it is global and the checkpoint's config does not say.
            id2label: Names of the labels.
            problem_type: Hugging Face's key; "regression" for one real-valued label.
            seed: Seed of the weights that start random; default: torch's global generator.

        Raises:
            ValueError: If the checkpoint is no known encoder, or an option is out of range.
        """
        source = load_backbone(backbone, num_layers=num_layers, max_length=max_length, sep_token_id=sep_token_id)
        exit = dict(exit or {"name": "never"})
        last = source.backbone.num_layers
        if head_depths == "all" or (head_depths is None and build_exit(exit).active):
            head_depths = range(1, last + 1)
        if isinstance(head_depths, str):
            raise ValueError(f"head_depths: expected 'all' or a list of depths, got {head_depths!r}")
        heads = {"depths": sorted({*(head_depths or ()), last}), "pooling": head_pooling}
        if final_head_pooling is not None:
            heads["final_pooling"] = final_head_pooling
        labels = source.labels(num_labels, id2label, problem_type)
        config = AdaptiveConfig(
            backbone=source.spec,
            attention=dict(attention or {"name": "full"}),
            pruner=dict(pruner or {"name": "none"}),
            exit=exit,
            heads=heads,
            **labels,
        )
        with torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            model = cls(config)
        keep_head = final_head_pooling is not None or head_pooling == "cls"
        random_parts = source.fill(model.encoder, num_labels=config.num_outputs, keep_head=keep_head)
        model._arrange_weights()
        if random_parts:
            log.info(
                "from_backbone: these parts start from random weights and need training: %s", ", ".join(random_parts)
            )
        return model.eval()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a saved model, as Hugging Face does, so that it answers bit for bit like the one that was saved.

        A certified model runs at its certified operating point. Where weights, pruning, attention or another part have
        changed since, the certificate is withdrawn with a warning, and the model runs at full depth; an exit that is
        asked for here (``exit=...``) is used as it is, without the certificate.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._arrange_weights()
        model.check_certificate()
        return loaded

    def _arrange_weights(self) -> None:
        """Lay the weights out in memory as their products read them fastest.

        Weights read from a file lie where the file puts them, and products round differently on memory that is not
        aligned; they are moved to memory of torch's own.
        """
        for module in self.modules():
            if isinstance(module, Linear):
                module.arrange()
        for parameter in self.parameters():
            if parameter.is_cpu and parameter.data_ptr() % ALIGNMENT:
                parameter.data = parameter.data.clone()

    def forward(
        self,
        input_ids: Int[Tensor, ...] | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Int[Tensor, ...] | None = None,
        *,
        lengths: Int[Tensor, " batch"] | None = None,
        labels: Tensor | None = None,
        trace: bool = False,
        head_depths: Sequence[int] | None = None,
        return_dict: bool | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> AdaptiveOutput | tuple[Any, ...]:
        """Classify a batch.

        Args:
            input_ids: (batch, width) padded, or (tokens,) packed end to end with ``lengths``.
            attention_mask: (batch, width), 1 on real tokens; default all. Not for packed input.
            token_type_ids: Shaped like ``input_ids``; default 0.
            lengths: (batch,) tokens of each sequence of a packed input.
            labels: (batch,) class indices, or real values for regression; ``loss`` is then given.
            trace: Run every head and let nobody leave early; ``all_logits`` is then given. Implied in training mode.
            head_depths: Trace these heads alone, in ascending order; blocks behind the last of them do not run either.
            return_dict: False gives a tuple.
            inputs_embeds: Not supported.
            output_attentions: Not supported.
            output_hidden_states: Not supported.

        Raises:
            ValueError: If an argument is missing, misshapen, out of range or not supported.
        """
        for name, value in (
            ("inputs_embeds", inputs_embeds),
            ("output_attentions", output_attentions),
            ("output_hidden_states", output_hidden_states),
        ):
            if value is not None and value is not False:
                raise ValueError(
                    f"{name}: not supported, since rows leave the encoder while it runs; "
                    f"expected input_ids and no {name}"
                )
        traced = self._traced_heads(head_depths)
        trace = trace or self.training or traced is not None
        output = self._run(input_ids, attention_mask, token_type_ids, lengths, trace, traced)
        if labels is not None:
            loss = self._loss(output, labels, traced or self.head_depths)
            output = dataclasses.replace(output, loss=loss)  # assigned later, it would come last
        if return_dict if return_dict is not None else self.config.return_dict:
            return output
        return output.to_tuple()

    def _traced_heads(self, head_depths: Sequence[int] | None) -> tuple[int, ...] | None:
        if head_depths is None:
            return None
        depths = tuple(head_depths)
        if not depths or set(depths) - set(self.head_depths) or list(depths) != sorted(set(depths)):
            raise ValueError(
                f"head_depths: expected some of {list(self.head_depths)} in ascending order, got {list(depths)}"
            )
        return depths

    def _loss(self, output: AdaptiveOutput, labels: Tensor, head_depths: tuple[int, ...]) -> Float[Tensor, ""]:
        if output.logits is None or labels.shape[0] != output.logits.shape[0]:
            raise ValueError(f"labels: expected one per sequence, got shape {tuple(labels.shape)}")
        regression = output.logits.shape[1] == 1
        if self.training and output.all_logits is not None:
            joint = joint_mean_squared_error if regression else joint_cross_entropy
            weights = [1.0 if depth == self.num_layers else EARLY_HEAD_WEIGHT for depth in head_depths]
            return joint(output.all_logits, labels, output.logits.new_tensor(weights))
        if regression:
            return F.mse_loss(output.logits.squeeze(1), labels.to(output.logits.dtype))
        return F.cross_entropy(output.logits, labels)

    @property
    def num_layers(self) -> int:
        """Blocks of the encoder."""
        return self.backbone.num_layers

    @property
    def head_depths(self) -> tuple[int, ...]:
        """Depths with a head, the last one included."""
        return self.encoder.head_depths

    def flops(
        self, tokens_kept: Int[Tensor, "batch columns"], exit_depth: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Return the FLOPs of the work executed for each example of an output."""
        cost = CostModel(self.config).executed(
            tokens_kept.cpu().numpy(), exit_depth.cpu().numpy(), early_heads=self.exit_criterion.active
        )
        return torch.from_numpy(cost)

    def dense_flops(self, lengths: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the FLOPs that unpadded, dense, unpruned full depth would take for each length."""
        return torch.from_numpy(CostModel(self.config).dense(lengths.cpu().numpy()))

    def to_hugging_face(self) -> PreTrainedModel:
        """Return the plain Hugging Face classifier with the same encoder and last head: no pruning, window or exits."""
        return to_hugging_face(self.backbone, self.encoder, self.config)
