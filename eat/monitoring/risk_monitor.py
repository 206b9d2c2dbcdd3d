"""Risk monitor: answer a random share of live traffic at full depth too, and test what the certificate promises."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eat.checks import number, shown, whole_number
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.fingerprint import model_fingerprint
from eat.monitoring.batches import Batch
from eat.monitoring.lanes import Lanes, certificate_of, check_classifier
from eat.monitoring.prometheus import risk_exposition
from eat.monitoring.risk import SequentialRiskTest
from eat.monitoring.sources import DEFAULT, SourcePoint
from eat.monitoring.state import check_keys, check_same
from eat.packed import AdaptiveOutput

log = logging.getLogger(__name__)

PROMISED = "inconsistency"
"""The loss that needs no labels: 1 where an answer is not that of full depth."""

IN_EXPECTATION = (
    "the certificate's guarantee is in expectation over draws of its split: the risk of this point may pass the bound "
    "in nearly half of all draws, and then an alarm is right; give a bound= of your own for a promise that is to hold"
)
"""What is said of a certificate by Conformal Risk Control."""


class RiskMonitor:
    """Risk monitor: tests in service whether at most the certified share of answers differs from full depth.

    A random share of the rows, drawn apart from what they say, is answered at full depth too. Whether the answers
    differ is tested against the bound by betting (`eat.monitoring.risk.SequentialRiskTest`): while the bound holds for
    the traffic, however that changes, the probability of EVER raising an alarm is at most ``false_alarm``.
    `DriftGuard` asks whether texts are still like those of the certification split; this asks whether the certificate's
    promise is kept, and costs ``audit`` of full depth.

        monitor = RiskMonitor(model, audit=0.01)  # certified with certify.loss=inconsistency
        output = monitor(input_ids=ids, attention_mask=mask)  # as the model answers
        if monitor.fired:
            page_somebody(monitor.report())

    Behind a guard, or a server of its own, it is given the answers: ``monitor.audit(output, ids, mask)``. The monitor
    raises an alarm and leaves the model as it is: whether to go to full depth is the caller's choice. Calls may come
    from several threads, as with `DriftGuard`.

    Args:
        model: In evaluation mode; certified, or with a ``bound``.
        audit: Share of the rows that are answered at full depth too, without exits and sufficient rules, in (0, 1].
        false_alarm: In (0, 1).
        bound: Share of answers that may differ from the model's own full depth, in (0, 1); None for that of its
            certificate, and the full depth that this is about.
        seed: Of the draws of rows.

    Raises:
        ValueError: If an argument is out of range; without ``bound``, if the model has no certificate that holds, or
            one whose loss needs labels, or one against another model's full depth.
        RuntimeError: In training mode.
    """

    def __init__(
        self,
        model: AdaptiveForSequenceClassification,
        *,
        audit: int | float = 0.01,
        false_alarm: int | float = 0.01,
        bound: int | float | None = None,
        seed: int = 0,
    ) -> None:
        self.share = number("audit", audit, above=0, at_most=1)
        whole_number("seed", seed, 0)
        check_classifier(model)
        self._in_expectation = False
        if bound is None:
            certificate = certificate_of(model)
            bound, point = _promise(certificate)
            self._in_expectation = certificate.get("method") == "conformal_risk_control"
        else:
            bound, point = number("bound", bound, above=0, below=1), SourcePoint(dict(model.config.exit or {}), None)
        if self._in_expectation:
            log.warning("RiskMonitor: %s", IN_EXPECTATION)
        self.test = SequentialRiskTest(bound, false_alarm)
        self.answers = 0
        self._fingerprint, self._exit = model_fingerprint(model), point.exit
        self._model, self._lanes = model, Lanes(model, {DEFAULT: point}, 1.0, owner="RiskMonitor")
        self._generator = np.random.default_rng(seed)
        self._lock = threading.Lock()

    @property
    def fired(self) -> bool:
        """Whether the alarm was raised since the last start."""
        with self._lock:
            return self.test.fired

    @torch.inference_mode()
    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> AdaptiveOutput:
        """Answer a batch as the model does, and audit a share of it; arguments and errors are those of `audit`."""
        self._lanes.check()
        output = self._model(input_ids, attention_mask, token_type_ids, lengths=lengths)
        self.audit(output, input_ids, attention_mask, token_type_ids, lengths=lengths)
        return output

    @torch.inference_mode()
    def audit(
        self,
        output: AdaptiveOutput,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> bool:
        """Compare a random share of the answers with full depth; return whether the alarm was raised.

        ``output`` is what was answered; the other arguments are what the model was given. An answer whose logits are
        not finite counts as one that differs.

        Raises:
            ValueError: If the model refuses the input, or the output has no logits or not one row for each input.
            RuntimeError: If the model has lost its certificate, moved or got other parts since the monitor was made.
        """
        self._lanes.check()
        batch = Batch.read(input_ids, attention_mask, token_type_ids, lengths)
        if output.logits is None or len(output.logits) != len(batch):
            got = "none" if output.logits is None else str(len(output.logits))
            raise ValueError(f"output: expected logits for each of the {len(batch)} rows, got {got}")
        with self._lock:
            self.answers += len(batch)
            rows = np.flatnonzero(self._generator.random(len(batch)) < self.share).tolist()
        if not rows:
            return self.fired
        part = batch if len(rows) == len(batch) else batch.select(rows)
        full = self._lanes.full[DEFAULT](
            part.input_ids, part.attention_mask, part.token_type_ids, lengths=part.lengths
        ).logits.cpu()
        served = output.logits[rows].cpu()
        if self._model.config.multi_label:
            other = ((served > 0) != (full > 0)).any(-1)
        else:
            other = served.argmax(-1) != full.argmax(-1)
        differs = other | ~(served.isfinite().all(-1) & full.isfinite().all(-1))
        with self._lock:
            before, fired = self.test.fired, self.test.observe(differs.double().numpy())
            report = self.test.report() if fired and not before else None
        if report is not None:
            log.warning(
                "answers differ from full depth more often than the bound of %g: %g of %d audited answers (interval "
                "[%.4g, %.4g]). Go to full depth (set_exit(name='never')), or certify again on such texts",
                *(report["bound"], report["losses"], report["audits"], *report["interval"]),
            )
        return fired

    def reset(self) -> None:
        """Begin a new test, with its own chance of a false alarm."""
        with self._lock:
            self.test.restart()

    def report(self) -> dict[str, Any]:
        """Return counts, evidence, interval and power as JSON values; see `SequentialRiskTest.report`.

        ``answers`` are all since the monitor was made, ``audit`` the share of them that is drawn. ``guarantee`` stands
        there where the certificate's is one in expectation, and says what that means.
        """
        with self._lock:
            noted = {"guarantee": IN_EXPECTATION} if self._in_expectation else {}
            return {"answers": self.answers, "audit": self.share, **self.test.report(), **noted}

    def prometheus(self) -> str:
        """Return the report in Prometheus' text format 0.0.4.

        Raises:
            ImportError: If ``prometheus_client`` is not installed (the extra ``monitoring``).
        """
        return risk_exposition(self.report())

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values, with which a restarted service goes on with the same test and draws."""
        with self._lock:
            generator = copy.deepcopy(self._generator.bit_generator.state)
            return self._identity() | {
                "answers": self.answers,
                "generator": generator,
                "test": self.test.state_dict(),
            }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a monitor of the same model, share, bound and rate stopped.

        Raises:
            ValueError: If the state is about another model, share, bound or rate, or a part of it is missing or
                misshapen; the monitor then stays as it was.
        """
        check_keys("state", state, self.state_dict())
        check_same(state, self._identity(), "monitor")
        answers = whole_number("state['answers']", state["answers"], 0)
        generator = np.random.default_rng()
        test = SequentialRiskTest(self.test.bound, self.test.false_alarm)
        try:
            generator.bit_generator.state = state["generator"]
            test.load_state_dict(state["test"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"state: expected a generator's state and a test's, got {error}") from None
        with self._lock:
            self.answers, self._generator, self.test = answers, generator, test

    def _identity(self) -> dict[str, Any]:
        """Return what a saved state must agree with."""
        return {"model": self._fingerprint, "exit": self._exit, "audit": self.share}


def _promise(certificate: Mapping[str, Any]) -> tuple[float, SourcePoint]:
    """Return what a certificate bounds, and the operating point that its losses are measured at the full depth of."""
    if certificate.get("loss") != PROMISED:
        raise ValueError(
            f"model: expected a certificate about {PROMISED}, which needs no labels, got one about "
            f"{shown(certificate.get('loss'))}; certify with certify.loss={PROMISED}, give a bound of your own, or "
            "test losses of labelled answers with SequentialRiskTest"
        )
    return number("certificate.bound", certificate["bound"], above=0, below=1), SourcePoint.from_certificate(
        certificate
    )
