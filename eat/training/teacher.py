"""A frozen, fine-tuned classifier whose logits the student learns from (EAT eq. 2)."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eat.backbones.weights import model_path
from eat.checks import shown
from eat.data.tokenizer import load_tokenizer
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import to_full_depth
from eat.training.fine_tuned import SAVE_TOKENIZER, check_problem, class_order, load_weights


class Teacher:
    """Answers packed batches with a frozen model's logits, classes in the student's order.

    A plain object on purpose: as a submodule of the training it would be written into every checkpoint. The model takes
    padded input, and is frozen and set to evaluation here. ``order`` says where each of the student's classes stands
    among the teacher's; None for the same order.
    """

    def __init__(self, model: PreTrainedModel, order: Sequence[int] | None = None, pad_token_id: int = 0) -> None:
        self.model = model.eval().requires_grad_(False)
        self.order = None if order is None else torch.tensor(order)
        self.pad_token_id = pad_token_id
        self._takes_types = "token_type_ids" in inspect.signature(model.forward).parameters

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        tokenizer: PreTrainedTokenizerBase,
        label_names: Sequence[str],
        max_length: int,
        multi_label: bool = False,
    ) -> "Teacher":
        """Load a fine-tuned Hugging Face classifier from its folder, or from a finished run's, and check that it fits.

        Tokenizer, classes (none for regression) and longest input are the student's; vocabularies must be the same.

        Raises:
            ValueError: If there is no model, or vocabulary, labels or length do not fit; says which.
        """
        path = find_teacher(folder)
        theirs = load_tokenizer("objective.teacher", path, SAVE_TOKENIZER)
        if theirs.get_vocab() != tokenizer.get_vocab():
            raise ValueError(
                f"objective.teacher: {path} has another vocabulary ({len(theirs)} tokens) than the student "
                f"({len(tokenizer)} tokens); teacher and student must share one tokenizer"
            )
        model = load_weights("objective.teacher", path)
        order, _ = class_order("objective.teacher", path, model.config.id2label or {}, label_names)
        check_problem("objective.teacher", path, model.config.problem_type, multi_label=multi_label)
        longest = getattr(model.config, "max_position_embeddings", None)
        if longest is not None and longest < max_length:
            raise ValueError(
                f"objective.teacher: {path} reads at most {longest} tokens, but inputs have up to {max_length}; "
                f"set backbone.max_length={longest} or less"
            )
        if isinstance(model, AdaptiveForSequenceClassification):
            to_full_depth(model)
        return cls(model, None if order == sorted(order) else order, tokenizer.pad_token_id or 0)

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch classes"]:
        """Return the logits for a packed batch (``input_ids``, ``lengths``, perhaps ``token_type_ids``)."""
        self.model.to(batch["input_ids"].device)
        lengths = batch["lengths"].tolist()
        padded = {
            "input_ids": _pad(batch["input_ids"], lengths, self.pad_token_id),
            "attention_mask": _pad(torch.ones_like(batch["input_ids"]), lengths, 0),
        }
        if self._takes_types and "token_type_ids" in batch:
            padded["token_type_ids"] = _pad(batch["token_type_ids"], lengths, 0)
        logits = self.model(**padded).logits
        return logits if self.order is None else logits[:, self.order.to(logits.device)]


def find_teacher(folder: str | Path) -> str:
    """Return where a teacher's model lies.

    Raises:
        ValueError: If it lies neither there nor in ``model/``.
    """
    path = model_path(str(folder))
    if not (Path(path) / "config.json").is_file():
        raise ValueError(
            "objective.teacher: expected the folder of a fine-tuned classifier (with config.json) or a finished "
            f"run (with model/config.json), got {shown(str(folder))}, which has neither"
        )
    return path


def _pad(values: Int[Tensor, " tokens"], lengths: list[int], fill: int) -> Int[Tensor, "batch width"]:
    return pad_sequence(list(values.split(lengths)), batch_first=True, padding_value=fill)
