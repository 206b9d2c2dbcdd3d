"""What a run keeps of an engine other than eat's own: temperatures of its heads and its certificate, in ``engines/``.

Engines that round otherwise are more or less sure of the same text, so each has temperatures, thresholds and
certificates of its own, made from its own traces. Those of eat's own engine stand in the saved model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from eat.checks import number, several, shown
from eat.files import read_object, write_text
from eat.models.certificate import EAT_INT8
from eat.models.fingerprint import model_fingerprint
from eat.models.granted import EAT, encode
from eat.ops.int8 import best_bits

FOLDER = "engines"


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
        """Name a model that carries a certificate of this engine; an int8 model in torch names its engine itself."""
        own = model_fingerprint(model)
        return own if self.name in (EAT, EAT_INT8) else self.fingerprint(own)


OWN = EngineId()


def int8_in_torch() -> EngineId:
    """Return the engine of int8 weights in torch, as this processor computes it best."""
    return EngineId(EAT_INT8, best_bits())


@dataclasses.dataclass(frozen=True)
class EngineState:
    """What ``engines/<name>.json`` holds."""

    fingerprint: str  # of weights, configuration without temperatures, and engine
    temperatures: tuple[float, ...]  # what divides the logits of each head
    certificate: Mapping[str, Any] | None  # None where there is none yet

    @property
    def divisors(self) -> tuple[float, ...] | None:
        """The temperatures as a model takes them: None where all are 1."""
        return None if set(self.temperatures) == {1.0} else self.temperatures

    def write(self, folder: Path, engine: EngineId) -> None:
        """Write it into a run folder, whole or not at all."""
        text = json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"
        write_text(state_path(folder, engine), text)


def state_path(folder: Path, engine: EngineId) -> Path:
    """Return where a run folder keeps what it knows of an engine."""
    return folder / FOLDER / f"{engine.name}.json"


def read_state(folder: Path, engine: EngineId) -> EngineState | None:
    """Read what a run folder keeps of an engine; None where it keeps nothing.

    Raises:
        ValueError: If the file is damaged.
    """
    path = state_path(folder, engine)
    if not path.is_file():
        return None
    try:
        values = read_object(path)
        fingerprint, certificate = values["fingerprint"], values["certificate"]
        if not isinstance(fingerprint, str) or not isinstance(certificate, Mapping | None):
            raise ValueError(f"expected a fingerprint and a certificate, got {shown(values)}")
        found = several("temperatures", values["temperatures"], "[1.0]")
        temperatures = tuple(number("temperatures", one, above=0) for one in found)
    except (KeyError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is damaged ({said}); delete it, and certify this engine again") from error
    return EngineState(fingerprint, temperatures, certificate)
