"""Whether a certificate is as it was granted, and of which engine: asked without torch as well, by what serves exports.

A certificate carries a digest of its own contents, which name weights, configuration and engine. One that was edited by
hand is refused. The digest is no signature: who writes the file can write the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

EAT = "eat"
"""The engine that runs the model in torch with the weights as trained; that of certificates which name none."""
IN_TORCH = {"int8": "eat_int8", "bf16": "eat_bf16"}
"""The engines that run the model in torch with other weights than float32, by the name in its configuration."""


def encode(facts: Mapping[str, Any]) -> bytes:
    """Return facts as bytes to hash: the same for equal facts."""
    return json.dumps(facts, sort_keys=True).encode()


def engine_of(certificate: Mapping[str, Any]) -> str:
    """Return the engine that a certificate was made with, and holds for alone."""
    return str(certificate.get("engine", EAT))


def with_digest(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """Return a certificate as it is saved: with the digest of its contents, which an older or edited one keeps."""
    return {**certificate, "digest": certificate.get("digest", _digest(certificate))}


def check_intact(certificate: Mapping[str, Any], where: str, *, digest_expected: bool = False) -> None:
    """Check that a certificate is as it was granted; one of an earlier version has no digest and cannot be checked.

    Raises:
        ValueError: If its contents are not those of its digest, or there is none where one is expected.
    """
    if certificate.get("digest", None if digest_expected else _digest(certificate)) != _digest(certificate):
        raise ValueError(
            f"{where}: it was edited after it was granted (its digest differs); take a whole copy of the model, "
            "certify it again (evaluate.py stages=[certify]), or remove 'certificate' from config.json"
        )


def _digest(certificate: Mapping[str, Any]) -> str:
    contents = {key: value for key, value in certificate.items() if key != "digest"}
    return hashlib.sha256(encode(contents)).hexdigest()[:16]
