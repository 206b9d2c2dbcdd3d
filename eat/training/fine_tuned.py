"""Fine-tuned classifiers that others made: where they lie, their tokenizer, and the order of their classes."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoModelForSequenceClassification, PreTrainedModel

from eat.backbones.loading import quiet_transformers
from eat.checks import one_line, shown
from eat.models.config import MULTI_LABEL
from eat.ops.finite import first_not_finite

SAVE_TOKENIZER = "save it there beside the weights (tokenizer.save_pretrained)"

log = logging.getLogger(__name__)


def load_weights(setting: str, path: str, **options: Any) -> PreTrainedModel:
    """Load a classifier with all of its weights; the error says that ``setting`` asks for it.

    Raises:
        ValueError: If weights cannot be read, are missing (transformers would make them random) or not finite.
    """
    try:
        with quiet_transformers():  # what is missing is said below
            model, info = AutoModelForSequenceClassification.from_pretrained(
                path, output_loading_info=True, trust_remote_code=False, **options
            )
    except OSError as error:
        why = one_line(error)
        raise ValueError(f"{setting}: {path} has a config.json but no weights that can be read: {why}") from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"]))
        raise ValueError(f"{setting}: expected a fine-tuned classifier, {path} has no weights for {missing}")
    broken = first_not_finite(model.state_dict())
    if broken is not None:
        raise ValueError(f"{setting}: expected finite weights, {path} has NaN or infinity in {shown(broken)}")
    return model


def check_problem(setting: str, path: str, problem_type: str | None, *, multi_label: bool) -> None:
    """Check that a classifier was trained for one class of several, or for any number of labels, as the task asks.

    Raises:
        ValueError: If it was not: the same outputs would mean something else.
    """
    if (problem_type == MULTI_LABEL) != multi_label:
        raise ValueError(
            f"{setting}: expected problem_type {MULTI_LABEL!r} exactly where data.kind is multi_label, "
            f"the classifier in {path} has {shown(problem_type)}"
        )


def class_order(
    setting: str,
    path: str,
    id2label: Mapping[Any, str],
    label_names: Sequence[str],
    *,
    task: str = "the task",
    labels: Sequence[str] | None = None,
    remedy: str = "",
) -> tuple[list[int], list[str]]:
    """Return where each of the task's classes stands among a classifier's outputs, and what the classifier calls it.

    Names match in whatever order and case. A classifier with Hugging Face's LABEL_0, LABEL_1, ... is taken to have the
    task's order, and gets the task's names. ``label_names`` are empty for regression, whose one output needs no name;
    ``labels``, where given, is the task's class of each output, in the outputs' order. All else is for messages: who
    asks (``setting``), where the classifier is, what has these classes, and what to do about other names.

    Raises:
        ValueError: If the number of outputs or the names do not match.
    """
    theirs, ours = [str(name) for _, name in sorted(id2label.items())], list(label_names)
    if len(theirs) != (len(ours) or 1):
        raise ValueError(f"{setting}: expected {len(ours) or 1} outputs, as {task} has, {path} has {len(theirs)}")
    if not ours:
        return [0], []
    if labels is not None:
        if sorted(labels) != sorted(ours):
            raise ValueError(f"backbone.labels: expected each of {shown(ours)} once, got {shown(list(labels))}")
        return [list(labels).index(name) for name in ours], ours
    if all(re.fullmatch(r"LABEL_\d+", name) for name in theirs):
        log.warning("%s: %s does not name its classes; they are taken in the order %s", setting, path, ours)
        return list(range(len(ours))), ours
    places = {name.casefold(): index for index, name in enumerate(theirs)}
    if sorted(places) != sorted(name.casefold() for name in ours):
        raise ValueError(f"{setting}: expected the classes {shown(ours)} of {task}, {path} has {shown(theirs)}{remedy}")
    order = [places[name.casefold()] for name in ours]
    return order, [theirs[index] for index in order]
