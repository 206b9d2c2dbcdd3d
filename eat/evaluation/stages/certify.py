"""Certify: find the cheapest operating point certified to lose at most a budget, and store it in the saved model."""

import dataclasses

from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.certify.store import caveat, fallback, store_certificate
from eat.evaluation.context import Evaluation
from eat.evaluation.report.certificate import card_section, certificate_section
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import Stage
from eat.runs.finished import FinishedRun
from eat.traces.run_traces import need_current


class Certify(Stage):
    """Choose and order points on the threshold split, test them on the certification split."""

    Settings = CertifySettings
    asked_by = ("max_drop", "veto_margin")

    def __call__(self, run: Evaluation, settings: CertifySettings) -> Section:
        """Certify; with weights, the saved model loads at the certified point from then on."""
        own, others = run.run, {other.name: other for other in map(FinishedRun, settings.runs)}
        if len({own.name, *others}) != 1 + len(settings.runs):
            raise ValueError(f"certify.runs: expected further runs with names of their own, got {list(settings.runs)}")
        traces = {own.name: run.traces, **{name: need_current(it, "certify.runs") for name, it in others.items()}}
        result = make_certificate(traces, settings, run.thresholds)
        certificate, stored = result.certificate, False
        if certificate is not None:
            chosen = others.get(certificate.run, own)
            certificate, stored = dataclasses.replace(certificate, caveat=caveat(chosen)), chosen.has_weights
            if stored:
                certificate = dataclasses.replace(certificate, fallback=fallback(own, chosen))
                certificate = store_certificate(chosen, certificate, card_section(certificate, result.comparison))
        return certificate_section(dataclasses.replace(result, certificate=certificate), run.folder, stored=stored)
