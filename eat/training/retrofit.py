"""Early heads for a classifier that is fine-tuned already: its weights stay as they are, and so does its answer."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from eat.backbones import BACKBONES
from eat.backbones.loading import OWN_TYPE, head_reads
from eat.backbones.mean_pooled import MeanPooledConfig
from eat.backbones.weights import model_path
from eat.checks import shown
from eat.data import TextDataModule
from eat.data.tokenizer import load_tokenizer
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import PROBLEM_TYPES
from eat.tasks import TaskFacts
from eat.training.backbones import TextSource, say_what_certificates_rest_on
from eat.training.fine_tuned import SAVE_TOKENIZER, check_problem, class_order, load_weights
from eat.training.heads import FeatureDataModule, HeadsModule

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierBackbone:
    """A fine-tuned classifier with its tokenizer, whose frozen weights get early heads."""

    name: str
    classifier: str | None  # folder or hub name of a Hugging Face classifier or saved eat model, or a run's folder
    labels: Sequence[str] | None  # the task's class of each of its outputs, in its order; None where its own names say
    max_length: int
    head_pooling: str  # what the early heads read: "cls" or "mean"
    lr: float = 1e-3  # of the heads

    module = HeadsModule

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Load the classifier's tokenizer."""
        _read_config(self.path)  # says what is missing where there is no model at all
        return load_tokenizer("retrofit", self.path, SAVE_TOKENIZER)

    def build(
        self, tokenizer: PreTrainedTokenizerBase, task: TaskFacts, **options: Any
    ) -> AdaptiveForSequenceClassification:
        """Build the classifier with its own final head and random early ones; classes stand in the task's order.

        Arguments are those of ``TrainingBackbone``; ``head_pooling`` and ``seed`` are those of the early heads.
        """
        theirs, reads = load_classifier(self.path)
        order, names = class_order(
            "retrofit",
            self.path,
            theirs.config.id2label or {},
            task.label_names,
            task=f"task {task.name}",
            labels=self.labels,
            remedy="; say which of the task's classes each of its outputs is, in its order: "
            "backbone=classifier backbone.labels=[...]",
        )
        check_problem("retrofit", self.path, theirs.config.problem_type, multi_label=task.kind == "multi_label")
        model = AdaptiveForSequenceClassification.from_backbone(
            theirs,
            num_labels=task.num_labels,
            final_head_pooling=reads,
            sep_token_id=tokenizer.sep_token_id,
            id2label=dict(enumerate(names)) or None,
            problem_type=PROBLEM_TYPES.get(task.kind),
            **options,
        )
        self._check_fit(model, tokenizer)
        model.frozen_weights = getattr(theirs.config, "weights", None)  # ours, where they are binary
        say_what_certificates_rest_on("retrofit", self.path, task)
        if order != sorted(order):
            log.info("retrofit: the classes of %s are put into the task's order: %s", self.path, names)
            final = model.encoder.heads[str(model.num_layers)].get_submodule("out")
            with torch.no_grad():
                for parameter in final.parameters():
                    parameter.copy_(parameter[order])
        return model

    @contextmanager
    def batches(
        self, data: TextDataModule, model: AdaptiveForSequenceClassification, folder: Path
    ) -> Iterator[LightningDataModule]:
        """Give the batches of cached features; the cache stays after an error, for the training to go on."""
        features = FeatureDataModule(data, model, folder)
        yield features
        features.discard()

    @property
    def path(self) -> str:
        """What ``from_pretrained`` reads: of a run folder the ``model/`` in it."""
        if not self.classifier:
            raise ValueError("retrofit: expected the folder or hub name of a fine-tuned classifier, got nothing")
        return model_path(self.classifier)

    def _check_fit(self, model: AdaptiveForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
        shape = model.backbone
        if len(model.head_depths) < 2:
            raise ValueError(
                f"head_depths: expected 'all' or depths below the last ({shape.num_layers}), where early heads are to "
                "be trained; got none"
            )
        if self.max_length > shape.max_length:
            raise ValueError(
                f"data.max_length: expected at most {shape.max_length} tokens, the longest input of {self.path}, "
                f"got {self.max_length}"
            )
        if len(tokenizer) > shape.vocab_size:
            raise ValueError(
                f"retrofit: {self.path} has a tokenizer of {len(tokenizer)} tokens and a model of {shape.vocab_size}; "
                "save there the tokenizer that it was trained with"
            )


def load_classifier(path: str) -> tuple[PreTrainedModel, str]:
    """Load a fine-tuned classifier, Hugging Face's or ours, and say what its head reads: "cls" or "mean".

    ``path`` is a folder that ``save_pretrained`` wrote (Hugging Face's or ours), or a hub name.

    Raises:
        ValueError: If there is no model, it is of an unknown type, or has no fine-tuned head.
    """
    config = _read_config(path)
    if config.model_type == OWN_TYPE:
        ours = AdaptiveForSequenceClassification.from_pretrained(path)
        for part, off in {"attention": "full", "pruner": "none"}.items():
            name = (getattr(ours.config, part) or {}).get("name", off)
            if name != off:
                log.info("retrofit: %s was trained with %s=%s, which is only taken over if typed", path, part, name)
        return ours, ours.config.head_pooling(ours.num_layers)
    if config.model_type not in BACKBONES and not isinstance(config, MeanPooledConfig):
        raise ValueError(
            f"retrofit: expected a classifier of type {BACKBONES.known}, {path} is of type {shown(config.model_type)}"
        )
    return load_weights("retrofit", path, dtype=torch.float32), head_reads(config)


def _read_config(path: str) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"retrofit: expected the folder or hub name of a fine-tuned classifier, or the folder of a finished run, "
            f"got {shown(path)}, which cannot be read: {str(error).splitlines()[0]}"
        ) from error
