"""A tiny certified model, and traffic like what it was certified on."""

import copy
from typing import Any

import numpy as np
import torch

from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.fingerprint import model_fingerprint
from eat.traces.profile import Profile, measure
from tests.made.models import Batch, make_batches
from tests.made.models import make_model as make_random_model

Model = AdaptiveForSequenceClassification
# Norms of an untrained model's rows tie but for rounding: they would not tell which tokens leave in which batch.
PRUNER = {"name": "attention_received", "depths": [1, 2], "ratio": 0.3}
NEVER = {"name": "never"}


def make_model(**options: Any) -> Model:
    """Build a tiny random model."""
    return make_random_model(**{"pruner": PRUNER} | options)


def profile_of(model: Model, batches: list[Batch]) -> Profile:
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


def padded(batch):
    rows = batch["input_ids"].split(batch["lengths"].tolist())
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return ids, (torch.arange(ids.shape[1]) < batch["lengths"].unsqueeze(1)).long()


def answer(model, batch, exit=None):
    if exit is not None:
        model = copy.deepcopy(model)
        model.set_exit(**exit)
    with torch.inference_mode():
        return model(*padded(batch))


def equal(one, other, rows=slice(None)):
    torch.testing.assert_close(one.logits[rows], other.logits[rows], rtol=1e-9, atol=1e-9)
    assert torch.equal(one.exit_depth[rows], other.exit_depth[rows])
    assert torch.equal(one.tokens_kept[rows], other.tokens_kept[rows])


def drifted(num=40):
    """Longer texts than the certification split's."""
    batch = make_batches(num, num, seed=9)[0]
    lengths = torch.full((num,), 30)
    ids = torch.randint(5, 128, (int(lengths.sum()),), generator=torch.Generator().manual_seed(1))
    return batch | {"input_ids": ids, "lengths": lengths}


def fire(guard, source="default"):
    for _ in range(10):
        guard(*padded(drifted()), source=source)
    assert source in guard.fired
