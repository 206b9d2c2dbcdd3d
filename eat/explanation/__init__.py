"""What a model does to one text: which tokens survive, what each head says, where the text exits and why."""

from eat.explanation.explained import Explanation, explain

__all__ = ["Explanation", "explain"]
