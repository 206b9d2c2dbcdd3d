"""The certificates of a run: the one that its model carries, and all that were made on its certification split."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eat.evaluation.certify.certificate import Certificate, Certification
from eat.evaluation.certify.p_values import ROUNDING
from eat.evaluation.certify.sequence import losses_of
from eat.evaluation.certify.settings import CertifySettings
from eat.files import read_object
from eat.models.engines import OWN, EngineId
from eat.runs.finished import FinishedRun
from eat.traces.replay import replay
from eat.traces.run_traces import RunTraces
from eat.traces.splits import split_fingerprint

CURRENT = "certificate"
"""Name, without suffix, of the certificate that the model carries; while there is none, of the last refusal."""


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What a file says of an attempt to certify."""

    name: str  # of its files, without suffix
    digest: str  # of what was asked for, the split and the number of points
    split: str  # fingerprint of the certification split
    settings: CertifySettings
    certificate: Certificate | None  # None where it was refused

    @classmethod
    def read(cls, path: Path) -> "Attempt":
        """Read a file.

        Raises:
            ValueError: If the file is none that a certification wrote.
        """
        try:
            values = read_object(path)
            found = values["certificate"]
            return cls(
                path.stem,
                _digest(values),
                values["split"]["fingerprint"],
                CertifySettings(**values["settings"]),
                None if found is None else Certificate.from_json(found),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no certificate that was written here ({type(error).__name__}: {error}); remove it, and "
                "certify again with stages=[certify]"
            ) from error


def standing_certificate(
    run: FinishedRun, report: Path, traces: Callable[[], RunTraces], engine: EngineId = OWN
) -> Certificate | None:
    """Return the certificate that a run's model carries of an engine and that holds for it, else None.

    Where results were kept without weights, it is the one in the engine's ``report``, if the loss that it says was
    observed is that of these traces.

    Raises:
        ValueError: If the file is damaged.
    """
    if run.has_weights and not engine.is_eat:
        kept = run.engine_state(engine)
        if kept is None or kept.certificate is None:
            return None
        granted = run.certificate_of(engine, run.model_of(engine, certified=False)[0])
        return None if granted is None else Certificate.from_json(granted)
    if run.has_weights:
        if run.model_config().get("certificate") is None:
            return None
        carried = run.load_model("cpu").config.certificate  # withdrawn where it no longer holds
        return None if carried is None else Certificate.from_json(carried)
    path = report / f"{CURRENT}.json"
    attempt = Attempt.read(path) if path.is_file() else None
    if attempt is None or attempt.certificate is None or attempt.certificate.run != attempt.settings.runs[0]:
        return None
    return attempt.certificate if _observed_on(traces(), attempt) else None


def keep_earlier(report: Path, result: Certification, standing: Certificate | None) -> str:
    """Set the certificate that stands aside where another is asked for, and name the files of the new attempt.

    A refusal takes a name of its own while a certificate stands, which the model goes on carrying.
    """
    current = report / f"{CURRENT}.json"
    digest = _digest(result.to_json())
    name = _name(result.settings, digest)
    if current.is_file():
        before = Attempt.read(current)
        if before.digest != digest:
            if result.certificate is None and standing is not None:
                return name
            for suffix in (".json", ".md"):
                if (report / f"{CURRENT}{suffix}").is_file():
                    aside = report / f"{_name(before.settings, before.digest)}{suffix}"
                    (report / f"{CURRENT}{suffix}").replace(aside)
    for suffix in (".json", ".md"):
        (report / f"{name}{suffix}").unlink(missing_ok=True)  # it is the current one again
    return CURRENT


def attempts(report: Path, split: str) -> list[Attempt]:
    """List all attempts on a certification split, the one that the model carries first."""
    pattern = re.compile(rf"{CURRENT}(-.+-[0-9a-f]{{6}})?\.json")
    files = sorted(path for path in report.glob(f"{CURRENT}*.json") if pattern.fullmatch(path.name))
    made = map(Attempt.read, sorted(files, key=lambda path: path.stem != CURRENT))
    return [attempt for attempt in made if attempt.split == split]


def _observed_on(traces: RunTraces, attempt: Attempt) -> bool:
    """Return True where a certificate's observed loss is that of the traces."""
    trace, certificate = traces.get("certification"), attempt.certificate
    if trace is None or certificate is None or split_fingerprint(trace) != attempt.split:
        return False
    if not {int(depth) for depth in certificate.exit_shares} <= set(trace.head_depths):
        return False
    if attempt.settings.reference is not None:  # whose traces are not these: depths say whether it is this model
        depth = float(replay(trace, certificate.exit).exit_depth.mean())
        return abs(depth - certificate.average_depth) < ROUNDING
    loss = float(losses_of(trace, trace, certificate.exit, attempt.settings.risk).mean())
    difference = loss - certificate.observed
    # Conformal Risk Control makes losses monotone first, which only raises them.
    return difference < ROUNDING and (attempt.settings.in_expectation or difference > -ROUNDING)


def _name(settings: CertifySettings, digest: str) -> str:
    return f"{CURRENT}-{settings.loss}-{settings.max_drop:g}-{digest}"


def _digest(values: Mapping[str, Any]) -> str:
    asked = [values["settings"], values["split"]["fingerprint"], values["sequence"]]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:6]
