"""The models behind a guard: one set of weights at the certified points, at full depth, and at full depth with care."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import sharing_copy


class Lanes:
    """Models that answer in different ways; all share the tensors of the one that is served, which stays as it is.

    Args:
        model: Certified.
        exits: The exit of each source.
        min_retention: The careful one keeps at least this part of the tokens.

    Attributes:
        by_source: At each source's operating point; the served model itself where that is its own.
        full: At full depth, pruning as certified: what certified losses are measured against.
        careful: At full depth, pruning less.
    """

    def __init__(
        self,
        model: AdaptiveForSequenceClassification,
        exits: Mapping[str, Mapping[str, Any]],
        min_retention: float,
    ) -> None:
        self._model, self._certificate = model, model.config.certificate
        self.by_source = {
            name: model if exit == model.config.exit else _at(model, exit) for name, exit in exits.items()
        }
        self.full = _at(model, {"name": "never"})
        self.careful = _at(model, {"name": "never"})
        pruner = dict(model.config.pruner or {})
        if model.pruner.depths:
            floor = max(min_retention, pruner.get("min_retention", 0.0))
            self.careful.set_pruner(**pruner | {"min_retention": floor})

    def check(self) -> None:
        """Check that the served model is still the one that these were made of.

        Raises:
            RuntimeError: If it has lost its certificate, or its weights were moved.
        """
        if self._model.config.certificate is not self._certificate:
            raise RuntimeError(
                "DriftGuard: the model is no longer certified as when the guard was made; make a new one"
            )
        if self._model.encoder.embeddings.words.weight is not self.full.encoder.embeddings.words.weight:
            raise RuntimeError("DriftGuard: the model's weights were moved since the guard was made; make a new one")


def certificate_of(model: AdaptiveForSequenceClassification) -> dict[str, Any]:
    """Return the model's certificate.

    Raises:
        ValueError: If it has none, or none that holds; if it predicts a score.
        RuntimeError: In training mode.
    """
    if model.training:
        raise RuntimeError("DriftGuard: expected the model in evaluation mode; call model.eval() first")
    if model.config.num_outputs < 2:
        raise ValueError("model: expected a classifier, got a regression model, which no certificate is about")
    model.check_certificate()
    if model.config.certificate is None:
        raise ValueError(
            "model: expected a certified one, got none: certify it (evaluate.py stages=[certify]) and load it from its "
            "folder, without another exit"
        )
    return model.config.certificate


def _at(model: AdaptiveForSequenceClassification, exit: Mapping[str, Any]) -> AdaptiveForSequenceClassification:
    twin = sharing_copy(model)
    twin.config.certificate = None  # it is about the served model; a copy must not warn of losing it
    twin.set_exit(**exit)
    return twin
