"""What an example of each class counts: said by name, or found from how often each class is trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

from eat.checks import closest, number, shown

BALANCED = "balanced"


def check_class_weights(spec: Any) -> None:
    """Check the option ``objective.class_weights`` before there are data: all but the names of classes.

    Raises:
        ValueError: If it is neither null, "balanced" nor a mapping of numbers of 0 or more.
    """
    if spec is None or spec == BALANCED:
        return
    if not isinstance(spec, Mapping) or not spec:
        raise ValueError(
            f"objective.class_weights: expected null, {BALANCED} or weights by class name, such as {{spam:5}}, got "
            f"{shown(spec)}"
        )
    for name, weight in spec.items():
        number(f"objective.class_weights.{name}", weight, at_least=0)


def find_class_weights(
    spec: Any, label_names: Sequence[str], label_counts: Sequence[int], without: Sequence[int] | None = None
) -> list[float] | None:
    """Return the weight of each class in label order; None where all count alike.

    "balanced" is n / (k n_c), for n training examples, k classes that have some, and n_c of this one (King and Zeng
    2001, as scikit-learn has it): each class then weighs alike, and the mean over the examples is 1. Classes that a
    mapping does not name weigh 1. In a multi-label task a weight is that of the examples which have the label, and
    "balanced" is those without over those with it: both then weigh alike.

    Args:
        spec: None, "balanced", or class name -> weight.
        label_names: All classes.
        label_counts: Training examples of each.
        without: In a multi-label task the training examples without each label.

    Raises:
        ValueError: If the form is another, or a name is no class.
    """
    check_class_weights(spec)
    if spec is None:
        return None
    if spec == BALANCED and without is not None:
        return [rest / count if count and rest else 1.0 for count, rest in zip(label_counts, without, strict=True)]
    if spec == BALANCED:
        present = sum(count > 0 for count in label_counts)
        return [sum(label_counts) / (present * count) if count else 1.0 for count in label_counts]
    by_name = {str(name): float(weight) for name, weight in spec.items()}
    for name in by_name:
        if name not in label_names:
            raise ValueError(
                f"objective.class_weights: expected some of the classes {list(label_names)}, got {shown(name)}"
                f"{closest(name, label_names)}"
            )
    return [by_name.get(name, 1.0) for name in label_names]
