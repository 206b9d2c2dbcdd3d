"""Serve one set of weights at several operating points: certified, at full depth, and at full depth pruning less."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import sharing_copy, to_full_depth
from eat.monitoring.sources import SourcePoint

_PARTS = ("backbone", "attention", "pruner", "exit", "heads", "rules")


class Lanes:
    """Copies of the certified, served model at other operating points; they share its tensors, and it stays as it is.

    Attributes:
        by_source: At each source's operating point; the served model itself where that is its own.
        full: Of each source, at full depth: what its certified losses are measured against. It prunes as the served
            model does, but where the certificate was granted to a variant of its reference: then as the reference.
        careful: At full depth, pruning less: it keeps at least ``min_retention`` of the tokens.

    ``owner`` is what errors call the one that serves them.
    """

    def __init__(
        self,
        model: AdaptiveForSequenceClassification,
        points: Mapping[str, SourcePoint],
        min_retention: float,
        *,
        owner: str,
    ) -> None:
        self._model, self._certificate, self._owner = model, model.config.certificate, owner
        self._parts = {name: copy.deepcopy(getattr(model.config, name)) for name in _PARTS}
        self.by_source = {
            name: model if point.exit == model.config.exit else _at(model, point.exit) for name, point in points.items()
        }
        self.full = {name: _at_full_depth(model, point.fallback) for name, point in points.items()}
        self.careful = _at_full_depth(model)
        pruner = dict(model.config.pruner or {})
        if model.pruner.depths:
            floor = max(min_retention, pruner.get("min_retention", 0.0))
            self.careful.set_pruner(**pruner | {"min_retention": floor})

    def check(self) -> None:
        """Check that the served model's certificate, parts and weights are those that these were made with."""
        if self._model.config.certificate is not self._certificate:
            raise RuntimeError(f"{self._owner}: the model is no longer certified as when this was made; make a new one")
        changed = [name for name, part in self._parts.items() if getattr(self._model.config, name) != part]
        if changed:
            raise RuntimeError(
                f"{self._owner}: the model's {', '.join(changed)} changed since this was made; make a new one"
            )
        if self._model.encoder.embeddings.words.weight is not self.careful.encoder.embeddings.words.weight:
            raise RuntimeError(f"{self._owner}: the model's weights were moved since this was made; make a new one")


def check_classifier(model: AdaptiveForSequenceClassification) -> None:
    """Check that a model is a classifier in evaluation mode."""
    if model.training:
        raise RuntimeError("model: expected the model in evaluation mode; call model.eval() first")
    if model.config.num_outputs < 2:
        raise ValueError("model: expected a classifier, got a regression model, which no certificate is about")


def certificate_of(model: AdaptiveForSequenceClassification) -> dict[str, Any]:
    """Return the certificate of a classifier in evaluation mode; one that does not hold, or none, is an error."""
    check_classifier(model)
    model.check_certificate()
    if model.config.certificate is None:
        raise ValueError(
            "model: expected a certified one, got none: certify it (evaluate.py stages=[certify]) and load it from its "
            "folder, without another exit"
        )
    return model.config.certificate


def _twin(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    twin = sharing_copy(model)
    twin.config.certificate = None  # it is about the served model; a copy must not warn of losing it
    return twin


def _at(model: AdaptiveForSequenceClassification, exit: Mapping[str, Any]) -> AdaptiveForSequenceClassification:
    twin = _twin(model)
    twin.set_exit(**exit)
    return twin


def _at_full_depth(
    model: AdaptiveForSequenceClassification, pruner: Mapping[str, Any] | None = None
) -> AdaptiveForSequenceClassification:
    twin = _twin(model)
    to_full_depth(twin)
    if pruner is not None:
        twin.set_pruner(**pruner)
    return twin
