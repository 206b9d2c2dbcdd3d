"""Load a Hugging Face checkpoint, folder, model or config into our encoder, and write it back."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from eat.backbones import BACKBONES
from eat.backbones.base import DENSE, Backbone
from eat.backbones.convert import encoder_weights_from_hf, head_weights_from_hf, weights_to_hf, with_zeros
from eat.backbones.mean_pooled import MeanPooledConfig, mean_pooled, mean_pooled_names, plain_names
from eat.checks import one_of, plain, shown, whole_number
from eat.modules.heads import POOLINGS
from eat.ops.finite import first_not_finite

log = logging.getLogger(__name__)

OWN_TYPE = "eat"  # the ``model_type`` of our own classifiers
NOT_IN_CHECKPOINTS = {"feed_forward": DENSE, "block_heads": None, "block_inner": None}
"""Keys of a shape that say how it differs from every checkpoint; configurations have none of them at these values."""
_FEED_FORWARD = re.compile(r"blocks\.\d+\.(inner|outer)\.")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' warnings about the weights that it loads, where messages of our own say what is missing."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


@dataclasses.dataclass(frozen=True)
class BackboneSource:
    """An encoder's shape, and its checkpoint's weights under our names."""

    backbone: Backbone  # the shape wanted
    config: PreTrainedConfig  # Hugging Face's, that it came from
    encoder_weights: dict[str, Tensor] | None  # None where only a config was given
    head_weights: dict[str, Tensor]  # the last head's, as far as the checkpoint has them: pooler, classifier
    head_reads: str = "cls"  # what that head reads: "cls", or "mean" where `to_hugging_face` wrote it
    left: Mapping[str, Sequence[int]] | None = None  # heads and neurons that one of our blocks each has left

    @property
    def spec(self) -> dict[str, Any]:
        """The backbone as plain values for ``config.json``; nothing of what is as in every checkpoint."""
        shape = {"name": self.config.model_type, **dataclasses.asdict(self.backbone)}
        usual = NOT_IN_CHECKPOINTS
        return {key: value for key, value in shape.items() if key not in usual or value != usual[key]}

    def labels(
        self, num_labels: int | None, id2label: Mapping[int, str] | None, problem_type: str | None
    ) -> dict[str, Any]:
        """Return the config keys about labels: those given, else a fine-tuned checkpoint's, else two classes."""
        if num_labels is not None:
            num_labels = whole_number("num_labels", num_labels)
        names: Mapping[Any, str] | None = id2label
        if names is not None and not isinstance(names, Mapping):
            raise ValueError(f"id2label: expected a mapping of 0, 1, ... to names, got {shown(names)}")
        if names is not None:
            if num_labels not in (None, len(names)):
                raise ValueError(f"id2label: expected num_labels={num_labels} names, got {len(names)}")
        elif num_labels is None and "out.weight" in self.head_weights:
            names, problem_type = self.config.id2label, problem_type or self.config.problem_type
        elif num_labels == self.config.num_labels and "out.weight" in self.head_weights:
            names = self.config.id2label
            if self.config.problem_type == "multi_label_classification":  # what its own head answers
                problem_type = problem_type or self.config.problem_type
        keys: dict[str, Any] = {"problem_type": problem_type}
        if names is None:
            keys["num_labels"] = num_labels or 2
        else:
            keys["id2label"] = {int(k): str(v) for k, v in names.items()}
            keys["label2id"] = {name: index for index, name in keys["id2label"].items()}
        return keys

    def fill(self, encoder: nn.Module, *, num_labels: int, keep_head: bool) -> list[str]:
        """Copy the weights into our encoder and return the names of the parts that stay random.

        ``keep_head`` says whether its last head reads what the checkpoint's own head does, whose weights then fit.
        """
        last = str(self.backbone.num_layers)
        random_parts = [f"head at depth {d}" for d, _ in encoder.get_submodule("heads").named_children() if d != last]
        if self.encoder_weights is None:
            return ["embeddings", "all blocks", *random_parts, f"head at depth {last}"]
        weights = dict(self.encoder_weights)
        head = self.head_weights if keep_head else {}
        if "out.weight" in head and head["out.weight"].shape[0] != num_labels:
            head = {name: tensor for name, tensor in head.items() if not name.startswith("out.")}
        weights |= {f"heads.{last}.{name}": tensor for name, tensor in head.items()}
        gated = self.backbone.feed_forward != DENSE
        if gated:
            weights = {name: tensor for name, tensor in weights.items() if not _FEED_FORWARD.match(name)}
            random_parts.insert(0, "the feed-forward of all blocks")
        missing, unexpected = encoder.load_state_dict(weights, strict=False)
        missing = [name for name in missing if not (gated and _FEED_FORWARD.match(name))]
        if unexpected or any(not name.startswith("heads.") for name in missing):
            raise ValueError(
                f"weights: expected the parts of the encoder, got missing {missing}, unexpected {unexpected}"
            )
        parts = sorted({name.split(".")[2] for name in missing if name.startswith(f"heads.{last}.")})
        return random_parts + [f"'{part}' of the head at depth {last}" for part in parts]


def load_backbone(
    source: str | Path | PreTrainedModel | PreTrainedConfig,
    *,
    num_layers: int | None = None,
    max_length: int | None = None,
    sep_token_id: int | None = None,
    feed_forward: str = DENSE,
) -> BackboneSource:
    """Load an encoder's shape and weights; arguments and errors are those of ``from_backbone``."""
    left = None
    if isinstance(source, PreTrainedConfig):
        config, weights = source, None
    elif isinstance(source, PreTrainedModel):
        left = _left(source, feed_forward)
        source = _plain(source)
        config, weights = source.config, dict(source.state_dict())
    else:
        config, weights, left = _load_checkpoint(str(source), feed_forward)
    reads = head_reads(config)
    if isinstance(config, MeanPooledConfig):
        weights = None if weights is None else plain_names(config, weights)
        config = config.encoder_config
    backbone = _shape(config, num_layers, max_length, sep_token_id)
    backbone = dataclasses.replace(backbone, feed_forward=feed_forward)
    if weights is None:
        return BackboneSource(backbone, config, None, {}, reads)
    encoder, head = encoder_weights_from_hf(backbone, weights), head_weights_from_hf(backbone, weights)
    broken = first_not_finite(encoder | head)
    if broken is not None:
        raise ValueError(f"backbone: expected finite weights, got NaN or infinity in {shown(broken)} of the checkpoint")
    return BackboneSource(backbone, config, encoder, head, reads, left)


def head_reads(config: PreTrainedConfig) -> str:
    """Return what the classification head of a Hugging Face model with this config reads: "cls" or "mean"."""
    if isinstance(config, MeanPooledConfig):
        return "mean"
    key = BACKBONES[config.model_type].pooling_key if config.model_type in BACKBONES else None
    return "cls" if key is None else one_of(f"config.{key}", getattr(config, key), POOLINGS)


def to_hugging_face(backbone: Backbone, encoder: nn.Module, config: PreTrainedConfig) -> PreTrainedModel:
    """Return a plain Hugging Face classifier that answers as an encoder with everything off and its last head do.

    It is Hugging Face's own class where that can read what the head does, else a
    `eat.backbones.mean_pooled.MeanPooledForSequenceClassification`. In place of heads and neurons that were removed it
    has zeros, since its class knows blocks of one size alone.

    Raises:
        ValueError: If Hugging Face's encoder cannot have this shape.
    """
    narrowed, backbone = backbone != backbone.whole, backbone.whole
    labels = {"num_labels": config.num_labels, "id2label": config.id2label, "label2id": config.label2id}
    last = encoder.get_submodule(f"heads.{backbone.num_layers}")
    reads = next(name for name, pool in POOLINGS.items() if pool is last.pool)
    pooling = {} if backbone.pooling_key is None else {backbone.pooling_key: reads}
    theirs = backbone.to_hf_config(problem_type=config.problem_type, **labels, **pooling)
    _check_same_shape(backbone, theirs)
    weights = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("heads.")}
    if narrowed:
        weights = with_zeros(backbone, weights)
    # Hugging Face's heads know no temperature: it goes into the classifier's weights.
    head = {n: t / last.temperature if n.startswith("out.") else t for n, t in last.state_dict().items()}
    named = weights_to_hf(backbone, weights, head)
    own = reads == head_reads(theirs)
    model = AutoModelForSequenceClassification.from_config(theirs) if own else mean_pooled(theirs)
    reference = next(encoder.parameters())
    # Before the weights, which it would round to its own; transformers' own `to` hides its types.
    nn.Module.to(model, device=reference.device, dtype=reference.dtype)
    model.load_state_dict(named if own else mean_pooled_names(model.config, named), strict=True)
    return model.eval()


def _check_same_shape(backbone: Backbone, theirs: PreTrainedConfig) -> None:
    """Refuse a shape that a Hugging Face configuration cannot hold, such as another epsilon in DistilBERT's norms."""
    again = dataclasses.replace(type(backbone).from_hf_config(theirs), sep_token_id=backbone.sep_token_id)
    ours, held = dataclasses.asdict(backbone), dataclasses.asdict(again)
    lost = [f"{key}={shown(ours[key])} (it has {shown(held[key])})" for key in ours if ours[key] != held[key]]
    if lost:
        raise ValueError(
            f"to_hugging_face: Hugging Face's {theirs.model_type} cannot have {', '.join(lost)}, so its answers would "
            "be others; use the eat model itself"
        )


def _shape(
    config: PreTrainedConfig, num_layers: int | None, max_length: int | None, sep_token_id: int | None
) -> Backbone:
    if config.model_type not in BACKBONES:
        raise ValueError(
            f"backbone: expected a model of type {BACKBONES.known}, got {shown(config.model_type)}"
            + ("; give the model, not its config" if config.model_type == OWN_TYPE else "")
        )
    backbone = BACKBONES[config.model_type].from_hf_config(config)
    num_layers, max_length, sep_token_id = map(plain, (num_layers, max_length, sep_token_id))
    is_integer = isinstance(num_layers, int) and not isinstance(num_layers, bool)
    if num_layers is not None and not (is_integer and 1 <= num_layers <= backbone.num_layers):
        raise ValueError(
            f"num_layers: expected an integer between 1 and {backbone.num_layers}, got {shown(num_layers)}"
        )
    changes: dict[str, Any] = {"num_layers": num_layers, "max_length": max_length, "sep_token_id": sep_token_id}
    return dataclasses.replace(backbone, **{key: value for key, value in changes.items() if value is not None})


def is_classifier(config: PreTrainedConfig) -> bool:
    """Return True for the configuration of a fine-tuned classifier, False for that of an encoder alone."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """Return an adaptive classifier as Hugging Face's own, with its last head alone; any other model as it is."""
    if model.config.model_type != OWN_TYPE:
        return model
    ours = cast(Any, model)
    if ours.config.engine is not None:
        raise ValueError(
            f"backbone: expected floating-point weights, got a model that is {ours.config.engine['name']}, for "
            "inference only; use the float32 model instead"
        )
    return to_hugging_face(ours.backbone, ours.encoder, ours.config)


def _left(model: PreTrainedModel, feed_forward: str) -> dict[str, list[int]] | None:
    """Return how many heads and neurons the blocks of one of our models have left; None where none were removed."""
    if model.config.model_type != OWN_TYPE:
        return None
    shape = cast(Any, model).backbone
    if shape == shape.whole:
        return None
    if feed_forward != DENSE:
        raise ValueError(
            f"feed_forward: expected {DENSE!r} for a checkpoint whose heads and neurons were removed, "
            f"got {shown(feed_forward)}"
        )
    depths = range(1, shape.num_layers + 1)
    return {"heads": [shape.heads_at(d) for d in depths], "neurons": [shape.inner_at(d) for d in depths]}


def _load_checkpoint(
    name: str, feed_forward: str
) -> tuple[PreTrainedConfig, dict[str, Tensor], dict[str, list[int]] | None]:
    """Load a folder's or the hub's weights, with the head that it has and without what would be random."""
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    if config.model_type == OWN_TYPE:
        model = AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=False)
        own = _plain(model)
        return own.config, dict(own.state_dict()), _left(model, feed_forward)
    if config.model_type not in BACKBONES and not isinstance(config, MeanPooledConfig):
        return config, {}, None
    has_head = config.model_type in BACKBONES and BACKBONES[config.model_type].head_in_pretrained
    auto = AutoModelForSequenceClassification if is_classifier(config) or has_head else AutoModel
    with quiet_transformers():  # our own message says which parts stay random
        model, info = auto.from_pretrained(name, output_loading_info=True, dtype=torch.float32, trust_remote_code=False)
    missing = set(info["missing_keys"])
    return config, {key: tensor for key, tensor in model.state_dict().items() if key not in missing}, None
