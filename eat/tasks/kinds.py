"""What a task asks of a text."""

from typing import Literal, get_args

TaskKind = Literal["classification", "multi_label", "regression"]
"""One class of several; any number of labels, each yes or no; or a score."""

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
