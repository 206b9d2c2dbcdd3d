"""What a run keeps of an engine other than eat's own: temperatures of its heads and its certificate, in ``engines/``.

Engines that round otherwise are more or less sure of the same text, so each has temperatures, thresholds and
certificates of its own, made from its own traces. Those of eat's own engine stand in the saved model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.checks import number, several, shown
from eat.files import read_object, write_text
from eat.models.engines import EngineId

FOLDER = "engines"


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
