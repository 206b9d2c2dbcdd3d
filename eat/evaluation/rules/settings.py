"""What sufficient rules are to keep, and how they are fitted and measured."""

import dataclasses

from eat.checks import number, true_or_false, whole_number


@dataclasses.dataclass(frozen=True, kw_only=True)
class RulesSettings:
    """How much the rules may answer otherwise, on what they are fitted, and how they are timed."""

    max_false_exits: int | float = 0.01  # of all texts, the share that may exit by a rule with another answer than full
    # depth's; split evenly among the rules
    confidence: int | float = 0.95  # with which all bounds hold together, in (0, 1)
    max_depth: int | None = None  # blocks that are tapped at most; null for all before that of the first head
    fit_examples: int = 5000  # at most so many training rows are fitted on, drawn at random
    apply: bool = False  # whether the saved model gets the rules; refused where it is certified
    batch_size: int = 64  # texts of a timed call
    examples: int = 512  # at most so many texts of the reported split are timed
    rounds: int = 5  # how often
    seconds: int | float = 60  # about so long, warm-up included

    def __post_init__(self) -> None:
        """Refuse a value of another type or out of range."""
        number("rules.max_false_exits", self.max_false_exits, above=0, below=1)
        number("rules.confidence", self.confidence, above=0, below=1)
        if self.max_depth is not None:
            whole_number("rules.max_depth", self.max_depth, at_least=0)
        for name in ("fit_examples", "batch_size", "examples", "rounds"):
            whole_number(f"rules.{name}", getattr(self, name))
        number("rules.seconds", self.seconds, above=0)
        true_or_false("rules.apply", self.apply)
