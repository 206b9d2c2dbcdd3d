"""Certify: find the cheapest operating point certified to lose at most a budget, and store it in the saved model."""

import dataclasses

from eat.evaluation.certify.certificate import make_certificate
from eat.evaluation.certify.kept import attempts, keep_earlier
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.certify.store import caveat, fallback, store_certificate
from eat.evaluation.context import Evaluation
from eat.evaluation.report.certificate import attempts_section, card_section, certificate_section
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import Stage
from eat.runs.finished import FinishedRun
from eat.traces.run_traces import need_current


class Certify(Stage):
    """Choose and order points on the threshold split, test them on the certification split.

    From then on the report is about the certified point, unless another exit was asked for.
    """

    Settings = CertifySettings
    asked_by = ("max_drop", "veto_margin")

    def __call__(self, run: Evaluation, settings: CertifySettings) -> Section:
        """Certify; with weights, the saved model loads at the certified point from then on."""
        own, others = run.run, {other.name: other for other in map(FinishedRun, settings.runs)}
        if len({own.name, *others}) != 1 + len(settings.runs):
            raise ValueError(f"certify.runs: expected further runs with names of their own, got {list(settings.runs)}")
        traces = {own.name: run.traces}
        traces |= {name: need_current(other, "certify.runs", run.engine) for name, other in others.items()}
        dense = None if settings.reference is None else FinishedRun(settings.reference, "certify.reference")
        against = None if dense is None else need_current(dense, "certify.reference")
        result = make_certificate(traces, settings, {run.swept.name: run.thresholds} if run.thresholds else {}, against)
        try:
            standing = run.certificate
        except ValueError:  # it was edited, and is granted anew
            standing = None
        name = keep_earlier(run.report, result, standing)
        certificate, stored = result.certificate, False
        if certificate is not None:
            chosen = others.get(certificate.run, own)
            certificate, stored = dataclasses.replace(certificate, caveat=caveat(chosen)), chosen.has_weights
            if stored:
                certificate = dataclasses.replace(certificate, fallback=fallback(dense or own, chosen))
                certificate = store_certificate(chosen, certificate, card_section(certificate, result.comparison))
            if chosen is own:
                run.certificate = certificate
        result = dataclasses.replace(result, certificate=certificate)
        made = certificate_section(result, run.report, name, stored=stored)
        made.write(run.report)  # of the run, whichever operating point the report is about
        others_made = attempts_section(attempts(run.report, result.split), run.report)
        others_made.write(run.report)
        return Section(console="\n\n".join(filter(None, [made.console, others_made.console])))
