"""Which engine runs a model: names, and the fingerprints that tell what each of them answers apart."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from transformers import PreTrainedModel

from eat.models.fingerprint import model_fingerprint
from eat.models.granted import EAT, IN_TORCH, encode
from eat.ops.int8 import best_bits


@dataclasses.dataclass(frozen=True)
class EngineId:
    """Names an engine by all that its answers follow from, beside the weights."""

    name: str = EAT  # key of `eat.benchmark.engines.ENGINES`
    bits: int | None = None  # of an activation in its int8 products; None in floating point

    @property
    def is_eat(self) -> bool:
        """Whether it is eat's own: the model in torch, with the weights as trained."""
        return self.name == EAT

    @property
    def facts(self) -> dict[str, Any]:
        """What files say of it; nothing of eat's own, which they meant before there were others."""
        return {} if self.is_eat else {"engine": self.name, "bits": self.bits}

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.name if self.bits is None else f"{self.name} ({self.bits}-bit activations)"

    def fingerprint(self, of_weights: str) -> str:
        """Name weights and configuration, which have this fingerprint, together with the engine."""
        if self.is_eat:
            return of_weights
        return hashlib.sha256(encode({"weights": of_weights, **self.facts})).hexdigest()[:16]

    def model_fingerprint(self, model: PreTrainedModel) -> str:
        """Name a model that carries a certificate of this engine; one in torch names its engine itself."""
        own = model_fingerprint(model)
        return own if self.name in (EAT, *IN_TORCH.values()) else self.fingerprint(own)


OWN = EngineId()


def numbers_of(engine: str) -> str | None:
    """Return what the weights are where an engine runs the model in torch with others than float32; else None."""
    return next((numbers for numbers, name in IN_TORCH.items() if name == engine), None)


def in_torch(engine: str) -> EngineId:
    """Return an engine that runs the model in torch, as this processor computes it best."""
    return EngineId(engine, best_bits() if numbers_of(engine) == "int8" else None)
