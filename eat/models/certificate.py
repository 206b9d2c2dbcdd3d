"""Withdraw a model's certificate where it no longer holds.

It holds for these weights, this configuration and this operating point alone. A certified model runs at the certified
operating point. Where anything that answers follow from has changed, the certificate is withdrawn with a warning and
the model runs at full depth, which needs no certificate. Checked when a model is loaded, and noticed at once when a
part is replaced, weights are loaded or converted, or training begins, through the model or a module that holds it. What
is done to its submodules (``encoder.load_state_dict``) or to tensors in place is found by `check`: when the model is
saved and loaded, or put under a `DriftGuard`.

A certificate carries a digest of its own contents, which name weights and configuration. One that was edited by hand is
refused. The digest is no signature: who writes the file can write the digest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, cast

from transformers import PreTrainedModel

from eat.models.fingerprint import encode, model_fingerprint

log = logging.getLogger(__name__)


def check(model: PreTrainedModel) -> None:
    """Compare the certificate with the model as it is; withdraw one that does not hold.

    An operating point that is not the certified one was chosen on purpose: it stays, without the certificate.

    Raises:
        ValueError: If the certificate is not as it was granted.
    """
    certificate = model.config.certificate
    if certificate is None:
        return
    check_intact(certificate, f"{model.config.name_or_path or 'model'}: config.certificate")
    if certificate["exit"] != model.config.exit:
        log.info("exit %s is not the certified point %s: no certificate", model.config.exit, certificate["exit"])
        model.config.certificate = None
    elif certificate["model"] != model_fingerprint(model):
        withdraw(model, "weights or configuration are not the certified ones")


def withdraw(model: PreTrainedModel, reason: str) -> None:
    """Take the certificate of a model that has one, with a warning, and let the model run at full depth."""
    if model.config.certificate is None:
        return
    log.warning(
        "the certificate of this model no longer holds: %s. It now runs at full depth (exit=never); certify it "
        "again (evaluate.py stages=[certify]), or choose an operating point without a guarantee (set_exit)",
        reason,
    )
    model.config.certificate = None
    cast(Any, model).set_exit(name="never")


def follow(model: PreTrainedModel, key: str, before: Any, spec: Mapping[str, Any]) -> None:
    """Follow a change of the configuration; a chosen operating point ends the certificate, but stays."""
    certificate = model.config.certificate
    if key != "exit" and spec != before:
        withdraw(model, f"{key} changed from {before} to {spec}")
    elif key == "exit" and certificate is not None and spec != certificate["exit"]:
        model.config.certificate = None


def weights_replaced(model: PreTrainedModel, _: Any) -> None:
    """Follow ``load_state_dict`` of the model, or of a module that holds it, as a hook of torch's."""
    withdraw(model, "other weights were loaded")


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
