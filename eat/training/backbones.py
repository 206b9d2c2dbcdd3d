"""What a training starts from: pretrained weights and their tokenizer, or a small random encoder with its own."""

import abc
import dataclasses
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning import LightningDataModule
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from eat.backbones import BACKBONES
from eat.backbones.base import DENSE, LEARN_FORGET
from eat.backbones.loading import is_classifier
from eat.backbones.tiny import tiny_config
from eat.backbones.weights import resolve_weights
from eat.checks import number, one_of, whole_number
from eat.data import TextDataModule
from eat.data.tokenizer import load_tokenizer, read_tokenizer, train_tokenizer
from eat.files import replacing_folder
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import PROBLEM_TYPES
from eat.tasks import TaskFacts
from eat.training.module import AdaptiveModule

log = logging.getLogger(__name__)

TextSource = Callable[[], Iterable[str]]
BEFORE_LR = 2e-5
"""Of every backbone, as runs from before each had its own mean it."""


@runtime_checkable
class TrainingBackbone(Protocol):
    """Assembles what is trained: tokenizer, classifier, the module that trains it, and its batches.

    Attributes:
        name: Short name, for folders and tables.
        max_length: Longest input in tokens; longer ones are cut.
        head_pooling: What the heads read on this backbone unless told otherwise: "cls" or "mean".
        lr: The learning rate that its training peaks at unless told otherwise.
        module: What trains the classifier.
    """

    name: str
    max_length: int
    head_pooling: str
    lr: float
    module: type[AdaptiveModule]

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Return the tokenizer; ``texts`` gives the training texts and ``folder`` keeps what was made from them."""

    def build(
        self, tokenizer: PreTrainedTokenizerBase, task: TaskFacts, **options: Any
    ) -> AdaptiveForSequenceClassification:
        """Build the classifier that a training starts from.

        Args:
            tokenizer: The backbone's.
            task: Gives the classes.
            options: Those of ``from_backbone``: attention, pruner, exit, head_depths, head_pooling, seed.

        Raises:
            ValueError: If an option is out of range.
        """

    def batches(
        self, data: TextDataModule, model: AdaptiveForSequenceClassification, folder: Path
    ) -> AbstractContextManager[LightningDataModule]:
        """Return the batches; on leaving without an error, what was kept for them in ``folder`` is deleted."""


class _WholeEncoder(abc.ABC):
    """A backbone all of whose weights are trained, on the texts themselves."""

    module = AdaptiveModule
    num_layers: int | None
    feed_forward: str
    max_length: int

    @abc.abstractmethod
    def source(self, tokenizer: PreTrainedTokenizerBase) -> str | PreTrainedConfig:
        """Return what ``from_backbone`` starts from."""

    def build(
        self, tokenizer: PreTrainedTokenizerBase, task: TaskFacts, **options: Any
    ) -> AdaptiveForSequenceClassification:
        """See ``TrainingBackbone``; without ``head_depths`` there is the last head alone."""
        options["head_depths"] = options["head_depths"] or []
        return AdaptiveForSequenceClassification.from_backbone(
            self.source(tokenizer),
            num_labels=task.num_labels,
            num_layers=self.num_layers,
            max_length=self.max_length,
            sep_token_id=tokenizer.sep_token_id,
            feed_forward=self.feed_forward,
            id2label=dict(enumerate(task.label_names)) or None,
            problem_type=PROBLEM_TYPES.get(task.kind),
            **options,
        )

    def batches(
        self, data: TextDataModule, model: AdaptiveForSequenceClassification, folder: Path
    ) -> AbstractContextManager[LightningDataModule]:
        """Return the texts' batches."""
        return nullcontext(data)


def say_what_certificates_rest_on(option: str, path: str, task: TaskFacts) -> None:
    """Log what a run on a classifier that was fine-tuned before has to trust in; ``option`` is what named it."""
    log.info(
        "%s: %s was fine-tuned before; thresholds and certificates stand on rows held out of %s's training part, and "
        "are worth as much only if it was not trained on these rows",
        option,
        path,
        task.name,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainedBackbone(_WholeEncoder):
    """A checkpoint and its tokenizer.

    It is read from the folder ``path``, else from the one of its short name under ``EAT_WEIGHTS_ROOT``, else from the
    hub. ``path`` may be a finished run: its weights and its last head are what this training starts from.
    """

    name: str
    hub: str | None
    path: str | None
    num_layers: int | None  # takes the first so many layers; None all
    max_length: int
    head_pooling: str
    feed_forward: str = DENSE  # or LEARN_FORGET, with random weights
    lr: float = BEFORE_LR

    def __post_init__(self) -> None:
        """Check the number of layers and the feed-forward; the rest is checked with the weights."""
        one_of("backbone.feed_forward", self.feed_forward, (DENSE, LEARN_FORGET))
        if self.num_layers is not None:
            whole_number("backbone.num_layers", self.num_layers)

    def build(
        self, tokenizer: PreTrainedTokenizerBase, task: TaskFacts, **options: Any
    ) -> AdaptiveForSequenceClassification:
        """See ``TrainingBackbone``; says where certificates rest on what a fine-tuned checkpoint has not seen."""
        model = super().build(tokenizer, task, **options)
        path = self.source()
        if is_classifier(AutoConfig.from_pretrained(path, trust_remote_code=False)):
            say_what_certificates_rest_on("backbone", path, task)
        return model

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Load the checkpoint's tokenizer."""
        return load_tokenizer("backbone.path", self.source(), "take a whole copy of the checkpoint")

    def source(self, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
        """Return the checkpoint's folder or hub name."""
        return resolve_weights(self.name, path=self.path, hub=self.hub)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyBackbone(_WholeEncoder):
    """A small encoder with random weights and a WordPiece vocabulary made from the training texts; no network."""

    name: str
    model_type: str  # a name of `eat.backbones.BACKBONES`
    vocab_size: int  # the most words of the vocabulary
    dim: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    dropout: float
    initializer_range: float  # standard deviation of the random weights; narrow encoders need more than BERT's 0.02
    max_length: int
    head_pooling: str
    feed_forward: str = DENSE  # or LEARN_FORGET
    lr: float = BEFORE_LR

    def __post_init__(self) -> None:
        """Check the values by the names that they are typed under."""
        one_of("backbone.feed_forward", self.feed_forward, (DENSE, LEARN_FORGET))
        BACKBONES.checked("backbone.model_type", self.model_type)
        for name in ("vocab_size", "dim", "num_layers", "num_heads", "intermediate_size"):
            whole_number(f"backbone.{name}", getattr(self, name))
        if self.dim % self.num_heads:
            raise ValueError(f"backbone.num_heads: expected a divisor of backbone.dim={self.dim}, got {self.num_heads}")
        number("backbone.dropout", self.dropout, at_least=0, below=1)
        number("backbone.initializer_range", self.initializer_range, at_least=0)

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Make the tokenizer from the texts, or load the one made before.

        Raises:
            ValueError: If the one made before is damaged.
        """
        if not (folder / "tokenizer.json").is_file():
            num_types = BACKBONES[self.model_type].from_hf_config(tiny_config(self.model_type)).num_types
            tokenizer = train_tokenizer(texts(), self.vocab_size, pair_types=num_types != 1)
            tokenizer.model_max_length = self.max_length  # kept in the file: whoever loads it cuts where the model ends
            with replacing_folder(folder, last="tokenizer.json") as partial:
                tokenizer.save_pretrained(partial)
        return read_tokenizer(folder, f"delete {folder}, and it is made anew")

    def source(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
        """Return the encoder's config, with the tokenizer's vocabulary."""
        names = ("dim", "num_layers", "num_heads", "intermediate_size", "max_length", "dropout")
        shape = {name: getattr(self, name) for name in names}
        config = tiny_config(self.model_type, vocab_size=len(tokenizer), **shape)
        config.initializer_range = self.initializer_range
        return config
