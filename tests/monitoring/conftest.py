"""A tiny certified model, and traffic like what it was certified on."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from eat.models.certificate import model_fingerprint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.profile import Profile, measure
from tests.evaluation.conftest import EXIT, make_batches
from tests.evaluation.conftest import make_model as make_random_model

Model = AdaptiveForSequenceClassification
# Norms of an untrained model's rows tie but for rounding: they would not tell which tokens leave in which batch.
PRUNER = {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}


def make_model(**options: Any) -> Model:
    """Build a tiny random model."""
    return make_random_model(**{"pruner": PRUNER} | options)


def profile_of(model: Model, batches: list[dict[str, torch.Tensor]]) -> Profile:
    """Count what a model answers."""
    values = []
    with torch.inference_mode():
        for batch in batches:
            output = model(batch["input_ids"], lengths=batch["lengths"])
            values.append(measure(output.logits.numpy(), output.exit_depth.numpy(), output.tokens_kept.numpy()))
    return Profile.of(np.concatenate(values, axis=1))


def certificate_for(model: Model, **more: Any) -> dict[str, Any]:
    """Write the part of a certificate that a guard reads, as if the model's exit had been certified on 200 texts."""
    profile = profile_of(model, make_batches(200, 40, seed=5))
    return {"exit": dict(model.config.exit), "model": model_fingerprint(model), "profile": profile.to_dict()} | more


@pytest.fixture(scope="module")
def _model() -> Model:
    model = make_model(exit=EXIT)
    model.config.certificate = certificate_for(model)
    return model


@pytest.fixture
def model(_model: Model) -> Model:
    return copy.deepcopy(_model)
