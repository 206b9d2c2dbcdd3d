"""Rules: fit sufficient rules before the first head, certify how often they are wrong, and measure what they save."""

import dataclasses
import json

import numpy as np

from eat.benchmark.tokenizing import encoded_examples, training_rows
from eat.evaluation.context import Evaluation
from eat.evaluation.report.rules import rules_section
from eat.evaluation.report.section import Section
from eat.evaluation.rules.choose import candidates, certify, check_enough, choose
from eat.evaluation.rules.results import RulesResult, expected_answers, measure_kept, time_rules
from eat.evaluation.rules.settings import RulesSettings
from eat.evaluation.rules.taps import Tapped, tap_examples
from eat.evaluation.rules.work import saved_work, taps_before
from eat.evaluation.stages.stage import Stage
from eat.exits.points import FULL_DEPTH
from eat.files import write_text
from eat.models.sharing import sharing_copy, variant
from eat.runs.finished import FinishedRun


class Rules(Stage):
    """Fit on training rows, choose on the threshold split, certify on the certification split, measure on the reported.

    What a rule decides is the model's own answer at full depth, pruned as it prunes.
    """

    Settings = RulesSettings
    needs_weights = True
    any_engine = False
    asked_by = ("max_false_exits",)

    def __call__(self, run: Evaluation, settings: RulesSettings) -> Section:
        """Work; the saved model gets the rules where that is asked for."""
        traces = run.traces
        if traces.reported.is_regression:
            raise ValueError(f"rules: expected classes, and {run.run.name} predicts a score (regression)")
        if traces.reported.multi_label:
            raise ValueError(f"rules: expected one class of several, and {run.run.name} gives a text several labels")
        calibration, held_out = traces.need("certification", "rules"), traces.need("threshold", "rules")
        check_enough(settings, len(calibration))
        if settings.apply and run.run.model_config().get("certificate") is not None:
            raise ValueError(
                f"rules.apply: the saved model of {run.run.name} carries a certificate, which is about the model "
                "without rules; leave rules.apply out, and give a copy the rules of report/rules.json (set_rules)"
            )
        model = variant(run.model, exit=FULL_DEPTH.spec)
        taps = taps_before(traces.reported.head_depths, run.own, settings.max_depth)

        def tapped(split: str) -> Tapped:
            return tap_examples(model, encoded_examples(run.data, split, range(len(traces.splits[split]))), taps)

        fitted_on = tap_examples(model, training_rows(run.data, settings.fit_examples), taps)
        saved = saved_work(model, held_out, taps)
        found = list(candidates(fitted_on, tapped(held_out.split), saved, settings, len(calibration)))
        tested = certify(choose(found, settings, len(calibration)), tapped(calibration.split), settings)
        reported = tapped(traces.main)
        result = RulesResult(
            settings=settings,
            fitted_on=len(fitted_on.answers),
            chosen_on=len(held_out),
            certified_on=len(calibration),
            split=traces.main,
            classes=traces.reported.task.label_names,
            candidates=found,
            tested=tested,
            kept=measure_kept(tested, reported, traces.reported, run.own),
        )
        if result.rules:
            drawn = np.random.default_rng(0).permutation(len(reported.answers))[: settings.examples]
            examples = encoded_examples(run.data, traces.main, drawn.tolist())
            expected = expected_answers(tested, reported)[drawn]
            result = dataclasses.replace(
                result, times=time_rules(run.model, result.rules, run.own, examples, expected, settings)
            )
            if settings.apply:
                _store(run.run, result)
        return rules_section(result, run.folder)


def _store(run: FinishedRun, result: RulesResult) -> None:
    """Write rules into a saved model's configuration, in one step."""
    model = sharing_copy(run.load_model("cpu", certified=False))
    model.set_rules(result.rules)
    config = run.model_config() | {"rules": model.config.rules}
    write_text(run.folder / "model" / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
