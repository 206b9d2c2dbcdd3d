"""Explain what a model does to one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from eat.checks import shown
from eat.exits.points import OperatingPoint
from eat.explanation.observed import HeadAnswer, Observed, Pruning
from eat.explanation.page import card, document
from eat.explanation.plain_text import in_plain_text
from eat.explanation.reasons import LAST, NOT_REACHED, NOT_RUN, reason
from eat.explanation.tokens import encode, tokens_of
from eat.explanation.watching import Pruned, watch
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.confidence import max_probability, sets_as_classes
from eat.ops.precision import at_least_float32
from eat.packed import AdaptiveOutput


class Explanation(Observed):
    """One text on its way through a model: printed as text, and shown in a notebook with shaded words."""

    def __str__(self) -> str:
        """Return it as text."""
        return in_plain_text(self)

    def _repr_html_(self) -> str:
        """Return it as HTML, for notebooks."""
        return card(self)

    def to_html(self) -> str:
        """Return a whole page of HTML, which needs no other file."""
        return document(self)


def explain(
    model: AdaptiveForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    text_pair: str | None = None,
    *,
    max_length: int | None = None,
) -> Explanation:
    """Explain what a model does to one text: which tokens survive, what each head says, where the text exits and why.

        print(eat.explain(model, tokenizer, "the plot was thin but the acting carried it"))

    The answer is the model's own. What heads and pruner would do behind the exit is shown as well, marked as not
    reached. The model is not changed.

    Args:
        model: In evaluation mode.
        tokenizer: The model's own, a fast one.
        text: The text; what is longer than ``max_length`` is cut, the longer text of a pair first.
        text_pair: The second text of a pair.
        max_length: Tokens that are kept at most; default: as many as model and tokenizer take.

    Raises:
        ValueError: If an argument is of another kind, or there is no room for text.
        RuntimeError: In training mode.
    """
    if not isinstance(model, AdaptiveForSequenceClassification):
        raise ValueError(f"model: expected an AdaptiveForSequenceClassification, got {type(model).__name__}")
    if model.training:
        raise RuntimeError("explain: the model is in training mode, call model.eval() first")
    if model.rules:
        raise ValueError(
            "explain: exits by sufficient rules are not explained; remove the rules first (model.set_rules(None))"
        )
    texts = [text] if text_pair is None else [text, text_pair]
    encoded, tokens_cut = encode(tokenizer, texts, model.backbone.max_length, max_length)
    tokens = tokens_of(encoded, texts)
    device = next(model.parameters()).device
    names = ("input_ids", "token_type_ids") if model.backbone.num_types else ("input_ids",)
    inputs = {name: torch.tensor([encoded[name]], device=device) for name in names if name in encoded}
    answer, traced, pruned = watch(model, inputs)
    assert answer.exit_depth is not None
    exit_depth = int(answer.exit_depth)
    heads = _heads(model, answer, traced)
    taken = next(head for head in heads if head.depth == exit_depth)
    return Explanation(
        text=text,
        text_pair=text_pair,
        label=taken.label,
        confidence=taken.confidence,
        exit_depth=exit_depth,
        num_layers=model.num_layers,
        reason=taken.decision,
        operating_point=OperatingPoint.of(model.config.exit or {}).label,
        certificate=_certified(model.config.certificate),
        tokens=tokens,
        tokens_cut=tokens_cut,
        prunings=tuple(_pruning(step, len(tokens), exit_depth) for step in pruned),
        heads=heads,
    )


def _heads(
    model: AdaptiveForSequenceClassification, answer: AdaptiveOutput, traced: AdaptiveOutput
) -> tuple[HeadAnswer, ...]:
    """Write down every head: the one at the exit as the model answers, the others as traced."""
    assert answer.logits is not None and answer.exit_depth is not None and traced.all_logits is not None
    exit_depth = int(answer.exit_depth)
    history = traced.all_logits.transpose(0, 1)
    read = sets_as_classes(history) if model.config.multi_label else history
    running = model.encoder.running_heads(trace=False)
    answers = []
    for index, depth in enumerate(model.head_depths):
        if depth == model.num_layers == exit_depth:
            decision = LAST
        elif depth not in running:
            decision = NOT_RUN
        elif depth > exit_depth:
            decision = NOT_REACHED
        else:
            decision = reason(str((model.config.exit or {})["name"]), model.exit_criterion, read[: index + 1])
        reached = depth in running and depth <= exit_depth
        logits = answer.logits[0] if depth == exit_depth else history[index, 0]
        answers.append(_head(model, depth, logits, model.temperatures[index], reached, decision))
    return tuple(answers)


def _head(
    model: AdaptiveForSequenceClassification,
    depth: int,
    logits: Float[Tensor, " classes"],
    temperature: float,
    reached: bool,
    decision: str,
) -> HeadAnswer:
    """Name what a head's logits say."""
    values = tuple(logits.tolist())
    if len(values) == 1:
        return HeadAnswer(depth, f"{values[0]:.4g}", None, {}, values, temperature, reached, decision)
    names = _names(model.config.id2label or {})
    if model.config.multi_label:
        sure = float(max_probability(sets_as_classes(logits[None, None])))
        probabilities = at_least_float32(logits).sigmoid().tolist()
        order = sorted(range(len(values)), key=lambda index: -probabilities[index])
        by_name = {names[index]: probabilities[index] for index in order}
        label = ", ".join(names[index] for index in order if values[index] > 0) or "no label"
        return HeadAnswer(depth, label, sure, by_name, values, temperature, reached, decision)
    probabilities = at_least_float32(logits).softmax(-1).tolist()
    first = int(logits.argmax())  # of equal classes the one that the model answers
    order = sorted(range(len(values)), key=lambda index: (index != first, -probabilities[index]))
    by_name = {names[index]: probabilities[index] for index in order}
    return HeadAnswer(depth, names[first], probabilities[first], by_name, values, temperature, reached, decision)


def _names(id2label: Mapping[Any, Any]) -> list[str]:
    """Return the names of the classes; one that names several is told apart by the class's index."""
    names = [str(id2label[index]) for index in range(len(id2label))]
    return [name if names.count(name) == 1 else f"{name} ({index})" for index, name in enumerate(names)]


def _pruning(pruned: Pruned, num_tokens: int, exit_depth: int) -> Pruning:
    """Spread what a pruner did to the live tokens over all tokens of the input."""
    alive, kept = [False] * num_tokens, [False] * num_tokens
    scores: list[float | None] = [None] * num_tokens
    for row, position in enumerate(pruned.positions):
        alive[position], kept[position] = True, pruned.kept[row]
        if pruned.scores is not None and not pruned.protected[row]:
            scores[position] = pruned.scores[row]
    return Pruning(pruned.depth, tuple(alive), tuple(kept), tuple(scores), reached=pruned.depth < exit_depth)


def _certified(certificate: Mapping[str, Any] | None) -> str | None:
    """Say what a certificate guarantees."""
    if certificate is None:
        return None
    loss, bound = certificate.get("loss"), certificate.get("bound")
    confidence, examples = certificate.get("confidence"), certificate.get("examples")
    if loss is None or bound is None:
        return "Certified operating point"
    how = "in expectation" if confidence is None else f"{_percent(confidence)} confidence"
    return f"Certified operating point: {loss} at most {_percent(bound)}, {how}, on {shown(examples)} examples"


def _percent(value: Any) -> str:
    return f"{100 * value:g} %" if isinstance(value, int | float) else shown(value)
