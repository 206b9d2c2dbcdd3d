"""Sources of traffic, and the operating point at which each is answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.checks import shown
from eat.files import read_object
from eat.models.granted import check_intact
from eat.traces.profile import Profile

DEFAULT = "default"
"""Texts of no named source: they are answered at the model's own certified point."""

Source = Mapping[str, Any] | str | Path


@dataclasses.dataclass(frozen=True, eq=False)
class SourcePoint:
    """Operating point of a source: how its texts are answered."""

    exit: dict[str, Any]  # the exit's spec
    profile: Profile | None  # what certified answers look like there; None without a certificate: it is not watched
    fallback: dict[str, Any] | None = None  # pruner at whose full depth losses are measured; None for the model's own

    @classmethod
    def from_certificate(cls, certificate: Mapping[str, Any]) -> SourcePoint:
        """Read the certified point; one without a profile, or measured against other weights, is an error."""
        fallback = certificate.get("fallback")
        if fallback is not None and fallback["pruner"] is None:
            raise ValueError(
                "certificate.fallback: expected a pruner of the same weights to fall back to, got none: this "
                "certificate's reference is another model; certify the model against its own full depth"
            )
        profile = Profile.from_certificate(certificate)
        return cls(dict(certificate["exit"]), profile, fallback and dict(fallback["pruner"]))


def read_source(name: str, given: Source, fingerprint: str) -> SourcePoint:
    """Read what a caller gave for a source: an exit's spec, a certificate, or a folder with one.

    A bare spec has no certificate; a folder is that of a model that was certified on texts of this source. A
    certificate must be about the served model's weights and configuration, which ``fingerprint`` names.

    Raises:
        ValueError: If it is none of these, has no certificate or profile, or one about or against another model.
    """
    where = f"sources[{shown(name)}]"
    if isinstance(given, str | Path):
        file = Path(given) / "config.json"
        if not file.is_file():
            raise ValueError(
                f"{where}: expected a folder with a saved model, got {shown(str(given))} without config.json"
            )
        try:
            config = read_object(file)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        given = config.get("certificate") or {}
        if not given:
            raise ValueError(
                f"{where}: expected a certified model, got {shown(str(file.parent))} without a certificate"
            )
        check_intact(given, f"{where}: {file}", digest_expected=config.get("fingerprint") is not None)
    if isinstance(given, Mapping) and "name" in given:
        return SourcePoint(dict(given), None)
    if not isinstance(given, Mapping) or not {"exit", "model"} <= set(given):
        raise ValueError(
            f"{where}: expected an exit ({{'name': ...}}), a certificate ('exit', 'model', 'profile') or the folder of "
            f"a certified model, got {shown(given)}"
        )
    if given["model"] != fingerprint:
        raise ValueError(
            f"{where}: expected a certificate about the served weights and configuration (fingerprint {fingerprint}), "
            f"got one about {given['model']}"
        )
    check_intact(given, where)
    try:
        return SourcePoint.from_certificate(given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def check_names(sources: Mapping[str, Source]) -> None:
    """Check that sources have names: strings, not empty, and not the one for texts of no named source."""
    for name in sources:
        if not isinstance(name, str) or not name or name == DEFAULT:
            raise ValueError(
                f"sources: expected names that are strings, not empty and not {DEFAULT!r} (texts of no named source), "
                f"got {shown(name)}"
            )
