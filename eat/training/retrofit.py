"""Early heads for a classifier that is fine-tuned already: its weights stay as they are, and so does its answer."""

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from eat.backbones import BACKBONES
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.tasks import Task
from eat.training.backbones import TextSource, TrainingBackbone

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ClassifierBackbone:
    """A fine-tuned classifier and its tokenizer.

    Attributes:
        name: Short name, for folders and tables.
        classifier: Folder or hub name of a Hugging Face classifier or a saved eat model, or a finished run's folder.
        labels: The task's class of each of its outputs, in its order; None where its own names say.
        max_length: Longest input in tokens; longer ones are cut.
        head_pooling: What the early heads read: "cls" or "mean".
    """

    name: str
    classifier: str | None
    labels: Sequence[str] | None = None
    max_length: int = 256
    head_pooling: str = "mean"

    @property
    def num_layers(self) -> None:
        """All of them: the classifier's own head reads the last."""

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Load the classifier's tokenizer.

        Raises:
            ValueError: If there is none.
        """
        _read_config(self.path)  # says what is missing where there is no model at all
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.path)
        except (OSError, ValueError) as error:
            raise ValueError(_no_tokenizer(self.path)) from error
        # From a folder without its files transformers makes a tokenizer that knows the special tokens alone.
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            raise ValueError(_no_tokenizer(self.path))
        return tokenizer

    def source(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """Return the classifier as Hugging Face's model."""
        return load_classifier(self.path)[0]

    @property
    def path(self) -> str:
        """What ``from_pretrained`` reads: of a run folder the ``model/`` in it."""
        if not self.classifier:
            raise ValueError("retrofit: expected the folder or hub name of a fine-tuned classifier, got nothing")
        inner = Path(self.classifier) / "model"
        return str(inner) if (inner / "config.json").is_file() else self.classifier


def build_retrofit(
    backbone: TrainingBackbone,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    attention: Mapping[str, Any],
    pruner: Mapping[str, Any],
    exit: Mapping[str, Any],
    head_depths: Sequence[int] | str | None,
    head_pooling: str,
    seed: int,
) -> AdaptiveForSequenceClassification:
    """Build the classifier with its own final head and random early ones; classes stand in the task's order.

    Args:
        backbone: A ``ClassifierBackbone``.
        tokenizer: The classifier's.
        task: Gives the classes.
        attention: Spec of the attention.
        pruner: Spec of the pruner.
        exit: Spec of the exit criterion.
        head_depths: Depths of the early heads, or "all".
        head_pooling: What the early heads read: "cls" or "mean".
        seed: Seed of the early heads' weights.

    Raises:
        ValueError: If there is no classifier, it does not fit the task, the tokenizer or ``max_length``, or an option
            is out of range.
    """
    if not isinstance(backbone, ClassifierBackbone):
        raise ValueError(f"backbone: retrofit= brings the encoder itself, so leave backbone={backbone.name} out")
    theirs, reads = load_classifier(backbone.path)
    order, names = class_order(theirs.config, task, backbone)
    model = AdaptiveForSequenceClassification.from_backbone(
        theirs,
        num_labels=task.num_labels,
        attention=attention,
        pruner=pruner,
        exit=exit,
        head_depths=head_depths,
        head_pooling=head_pooling,
        final_head_pooling=reads,
        sep_token_id=tokenizer.sep_token_id,
        id2label=dict(enumerate(names)) or None,
        problem_type="regression" if task.kind == "regression" else None,
        seed=seed,
    )
    _check_fit(model, tokenizer, backbone)
    log.info(
        "retrofit: thresholds and certificates stand on rows held out of %s's training part; they are worth as much "
        "only if %s was not trained on these rows either",
        task.name,
        backbone.path,
    )
    if order != list(range(task.num_labels)):
        log.info("retrofit: the classes of %s are put into the task's order: %s", backbone.path, names)
        final = model.encoder.heads[str(model.num_layers)].get_submodule("out")
        with torch.no_grad():
            for parameter in final.parameters():
                parameter.copy_(parameter[order])
    return model


def load_classifier(path: str) -> tuple[PreTrainedModel, str]:
    """Load a fine-tuned classifier as Hugging Face's model, and say what its head reads: "cls" or "mean".

    Args:
        path: A folder that ``save_pretrained`` wrote (Hugging Face's or ours), or a hub name.

    Raises:
        ValueError: If there is no model, it is of an unknown type, or has no fine-tuned head.
    """
    config = _read_config(path)
    if config.model_type == "eat":
        ours = AdaptiveForSequenceClassification.from_pretrained(path)
        for part in ("attention", "pruner"):
            log.info("retrofit: %s was trained with %s=%s", path, part, getattr(ours.config, part))
        return ours.to_hugging_face(), ours.config.head_pooling(ours.num_layers)
    if config.model_type not in BACKBONES:
        raise ValueError(
            f"retrofit: expected a classifier of type {sorted(BACKBONES)}, {path} is of type {config.model_type!r}"
        )
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what is missing is said below
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, output_loading_info=True, dtype=torch.float32
        )
    except OSError as error:
        raise ValueError(f"retrofit: {path} has a config.json but no weights that can be read: {error}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"]))
        raise ValueError(f"retrofit: expected a fine-tuned classifier, {path} has no weights for {missing}")
    return model, "cls"


def class_order(config: PreTrainedConfig, task: Task, backbone: ClassifierBackbone) -> tuple[list[int], list[str]]:
    """Return where each of the task's classes stands among the classifier's outputs, and its name in the saved model.

    A classifier that names its classes as the task does, in whatever order and case, keeps its names. One with Hugging
    Face's LABEL_0, LABEL_1, ... is taken to have the task's order, and gets the task's names.

    Args:
        config: The classifier's.
        task: Gives the classes.
        backbone: Its ``labels``, where given, say what the outputs are.

    Raises:
        ValueError: If the number of outputs or the names do not match.
    """
    theirs = [str(name) for _, name in sorted((config.id2label or {}).items())]
    if len(theirs) != task.num_labels:
        raise ValueError(
            f"retrofit: expected {task.num_labels} outputs, as task {task.name} has, {backbone.path} has {len(theirs)}"
        )
    ours = list(task.label_names)
    if not ours:  # a score, which needs no name
        return [0], []
    if backbone.labels is not None:
        if sorted(backbone.labels) != sorted(ours):
            raise ValueError(f"backbone.labels: expected each of {ours} once, got {list(backbone.labels)}")
        return [list(backbone.labels).index(name) for name in ours], ours
    if all(re.fullmatch(r"LABEL_\d+", name) for name in theirs):
        log.warning("retrofit: %s does not name its classes; they are taken in the order %s", backbone.path, ours)
        return list(range(len(ours))), ours
    places = {name.casefold(): index for index, name in enumerate(theirs)}
    if sorted(places) != sorted(name.casefold() for name in ours):
        raise ValueError(
            f"retrofit: expected the classes {ours} of task {task.name}, {backbone.path} has {theirs}; "
            "say which of the task's classes each of its outputs is, in its order: "
            "backbone=classifier backbone.labels=[...]"
        )
    order = [places[name.casefold()] for name in ours]
    return order, [theirs[index] for index in order]


def _check_fit(
    model: AdaptiveForSequenceClassification, tokenizer: PreTrainedTokenizerBase, backbone: ClassifierBackbone
) -> None:
    shape = model.backbone
    if len(model.head_depths) < 2:
        raise ValueError(
            f"head_depths: expected 'all' or depths below the last ({shape.num_layers}), where early heads are to be "
            "trained; got none"
        )
    if backbone.max_length > shape.max_length:
        raise ValueError(
            f"data.max_length: expected at most {shape.max_length} tokens, the longest input of {backbone.path}, "
            f"got {backbone.max_length}"
        )
    if len(tokenizer) > shape.vocab_size:
        raise ValueError(
            f"retrofit: {backbone.path} has a tokenizer of {len(tokenizer)} tokens and a model of {shape.vocab_size}; "
            "save there the tokenizer that it was trained with"
        )


def _read_config(path: str) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"retrofit: expected the folder or hub name of a fine-tuned classifier, or the folder of a finished run, "
            f"got {path!r}, which cannot be read: {str(error).splitlines()[0]}"
        ) from error


def _no_tokenizer(path: str) -> str:
    return f"retrofit: no tokenizer in {path}; save it there beside the weights (tokenizer.save_pretrained)"
