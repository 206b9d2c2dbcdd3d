"""Plan: find the most accurate operating point predicted to meet a latency or speed-up budget, and measure it."""

import logging
from functools import partial

from eat.benchmark.latency.plan import PlanSettings, make_plan
from eat.benchmark.latency.planned import save_plan
from eat.benchmark.tokenizing import encoded_examples
from eat.evaluation.context import Evaluation
from eat.evaluation.report.plan import latency_model, plan_section
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import Stage

log = logging.getLogger(__name__)


class Plan(Stage):
    """Choose on the threshold split, measure live."""

    Settings = PlanSettings
    needs_weights = True
    any_engine = False
    asked_by = ("latency_ms", "speedup")

    def __call__(self, run: Evaluation, settings: PlanSettings) -> Section:
        """Plan, and hand the latency model on."""
        held_out, reported = run.traces.need("threshold", "plan"), run.traces.reported
        log.info("plan: calibrating at batch size %d on texts of the threshold split", settings.batch_size)
        plan = make_plan(run.model, held_out, reported, partial(encoded_examples, run.data, held_out.split), settings)
        save_plan(run.folder, plan, run=run.run.name, fingerprint=run.traces.fingerprint)
        run.latency = latency_model(plan, reported)
        return plan_section(plan, run.folder)
