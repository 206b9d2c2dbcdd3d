"""Withdraw a model's certificate where it no longer holds.

It holds for these weights, this configuration and this operating point alone. A certified model runs at the certified
operating point. Where anything that answers follow from has changed, the certificate is withdrawn with a warning and
the model runs at full depth, which needs no certificate. Checked when a model is loaded, and noticed at once when a
part is replaced, weights are loaded or converted, or training begins, through the model or a module that holds it. What
is done to its submodules (``encoder.load_state_dict``) or to tensors in place is found by `check`: when the model is
saved and loaded, or put under a `DriftGuard`.

It was made with one engine and holds for no other: with int8 weights, or in exported segments, a model is more or less
sure of the same text, so that other sequences leave. `eat.models.granted` says whether it is as it was granted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from transformers import PreTrainedModel

from eat.models import rules
from eat.models.fingerprint import model_fingerprint
from eat.models.granted import EAT, IN_TORCH, check_intact, engine_of

log = logging.getLogger(__name__)


def own_engine(model: PreTrainedModel) -> str:
    """Return the engine that runs a model in torch."""
    return EAT if model.config.engine is None else IN_TORCH[model.config.engine["name"]]


def check(model: PreTrainedModel) -> None:
    """Compare certificate and rules with the model as it is; withdraw what does not hold.

    An operating point that is not the certified one was chosen on purpose: it stays, without the certificate.

    Raises:
        ValueError: If the certificate, or a rule, is not as it was granted.
    """
    if model.config.rules is not None:
        rules.check(model, model_fingerprint(model))
    certificate = model.config.certificate
    if certificate is None:
        return
    if model.config.rules is not None:  # put there by hand: a model gets only one of the two
        end(model, "sufficient rules were added")
        return
    check_intact(certificate, f"{model.config.name_or_path or 'model'}: config.certificate")
    if certificate["exit"] != model.config.exit:
        log.info("exit %s is not the certified point %s: no certificate", model.config.exit, certificate["exit"])
        model.config.certificate = None
    elif (made_with := engine_of(certificate)) != (engine := own_engine(model)):
        withdraw(model, f"it was made with the engine {made_with}, and this is {engine}")
    elif certificate["model"] != model_fingerprint(model):
        withdraw(model, "weights or configuration are not the certified ones")


def withdraw(model: PreTrainedModel, reason: str) -> None:
    """Take certificate and rules of a model that has them, with a warning; without one it runs at full depth."""
    rules.withdraw(model, reason)
    end(model, reason)


def end(model: PreTrainedModel, reason: str) -> None:
    """Take the certificate alone, likewise."""
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
