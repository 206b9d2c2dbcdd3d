"""Sweep: compare all exit criteria over their thresholds; findings sweep the own one as well."""

import logging

from eat.evaluation.context import Evaluation
from eat.evaluation.criteria import compare_criteria
from eat.evaluation.report.criteria import criteria_section
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import NoSettings, Stage

log = logging.getLogger(__name__)


class Sweep(Stage):
    """Compare criteria: chosen on the threshold split, shown on the reported one."""

    def __call__(self, run: Evaluation, settings: NoSettings) -> Section | None:
        """Set all criteria side by side, with predicted latency where a plan was made."""
        held_out = run.traces.get("threshold")
        if held_out is None:
            log.info("sweep: no threshold split to choose on, so criteria are not compared (data.threshold_examples)")
            return None
        comparison = compare_criteria(held_out, run.traces.reported, run.latency)
        return None if comparison is None else criteria_section(run, comparison)
