"""What a training starts from: pretrained weights and their tokenizer, or a small random encoder with its own."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from eat.backbones.tiny import tiny_config
from eat.backbones.weights import resolve_weights
from eat.data.tokenizer import train_tokenizer
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.tasks import Task

TextSource = Callable[[], Iterable[str]]


@runtime_checkable
class TrainingBackbone(Protocol):
    """Gives a training its tokenizer and the weights that it starts from.

    Attributes:
        name: Short name, for folders and tables.
        num_layers: First so many layers of the checkpoint; None for all.
        max_length: Longest input in tokens; longer ones are cut.
        head_pooling: What the heads read on this backbone unless told otherwise: "cls" or "mean".
    """

    name: str
    num_layers: int | None
    max_length: int
    head_pooling: str

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Return the tokenizer; ``texts`` gives the training texts and ``folder`` keeps what was made from them."""
        ...

    def source(self, tokenizer: PreTrainedTokenizerBase) -> str | PreTrainedModel | PreTrainedConfig:
        """Return what ``from_backbone`` starts from."""
        ...


@dataclasses.dataclass(frozen=True)
class PretrainedBackbone:
    """A checkpoint and its tokenizer.

    Attributes:
        name: Short name; also the folder's name under ``EAT_WEIGHTS_ROOT``.
        hub: Name on the Hugging Face hub.
        path: Folder of the checkpoint, before all other places.
        num_layers: See ``TrainingBackbone``.
        max_length: See ``TrainingBackbone``.
        head_pooling: See ``TrainingBackbone``.
    """

    name: str
    hub: str | None = None
    path: str | None = None
    num_layers: int | None = None
    max_length: int = 256
    head_pooling: str = "cls"

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Load the checkpoint's tokenizer."""
        return AutoTokenizer.from_pretrained(self._weights())

    def source(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return the checkpoint's folder or hub name."""
        return self._weights()

    def _weights(self) -> str:
        return resolve_weights(self.name, path=self.path, hub=self.hub)


@dataclasses.dataclass(frozen=True)
class TinyBackbone:
    """A small encoder with random weights and a WordPiece vocabulary made from the training texts: no network needed.

    Attributes:
        name: Short name.
        model_type: ``bert``, ``distilbert``, ``roberta`` or ``electra``.
        vocab_size: Most words of the vocabulary.
        dim: Width of a row.
        num_layers: Blocks.
        num_heads: Attention heads per block.
        intermediate_size: Width inside the feed-forward.
        dropout: Everywhere.
        initializer_range: Standard deviation of the random weights; narrow encoders need more than BERT's 0.02.
        max_length: See ``TrainingBackbone``.
        head_pooling: See ``TrainingBackbone``.
    """

    name: str = "tiny"
    model_type: str = "bert"
    vocab_size: int = 4096
    dim: int = 64
    num_layers: int = 6
    num_heads: int = 4
    intermediate_size: int = 256
    dropout: float = 0.1
    initializer_range: float = 0.05
    max_length: int = 256
    head_pooling: str = "cls"

    def tokenizer(self, texts: TextSource, folder: Path) -> PreTrainedTokenizerBase:
        """Make the tokenizer from the texts, or load the one made before."""
        if not (folder / "tokenizer.json").is_file():
            train_tokenizer(texts(), self.vocab_size).save_pretrained(folder)
        return AutoTokenizer.from_pretrained(folder)

    def source(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
        """Return the encoder's config, with the tokenizer's vocabulary."""
        config = tiny_config(
            self.model_type,
            vocab_size=len(tokenizer),
            dim=self.dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
            max_length=self.max_length,
            dropout=self.dropout,
        )
        config.initializer_range = self.initializer_range
        return config


def build_classifier(
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
    """Build the classifier that a training starts from; its options are those of ``from_backbone``.

    Args:
        backbone: Where weights come from.
        tokenizer: The backbone's.
        task: Gives the labels.
        attention: Spec of the attention.
        pruner: Spec of the pruner.
        exit: Spec of the exit criterion; it has no influence on which heads there are.
        head_depths: Depths of the early heads, or "all"; None for the last head alone.
        head_pooling: "cls" or "mean".
        seed: Seed of the weights that start random.

    Raises:
        ValueError: If an option is out of range.
    """
    return AdaptiveForSequenceClassification.from_backbone(
        backbone.source(tokenizer),
        num_labels=task.num_labels,
        num_layers=backbone.num_layers,
        attention=attention,
        pruner=pruner,
        exit=exit,
        head_depths=head_depths or [],
        head_pooling=head_pooling,
        max_length=backbone.max_length,
        sep_token_id=tokenizer.sep_token_id,
        id2label=dict(enumerate(task.label_names)) or None,
        problem_type="regression" if task.kind == "regression" else None,
        seed=seed,
    )
