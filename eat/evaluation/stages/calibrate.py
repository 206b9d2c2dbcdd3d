"""Calibrate: give a temperature to each head whose probabilities cannot be trusted."""

import logging

from eat.evaluation.calibration import (
    Calibration,
    CalibrationSettings,
    SplitCalibration,
    apply_temperatures,
    fit_temperatures,
)
from eat.evaluation.context import Evaluation
from eat.evaluation.report.heads import calibration_section
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import Stage
from eat.traces.heads import measure_heads

log = logging.getLogger(__name__)


class Calibrate(Stage):
    """Fit temperatures on the threshold split; from here on the model answers with them, where they are applied."""

    Settings = CalibrationSettings
    asked_by = ("apply", "max_ece")

    def __call__(self, run: Evaluation, settings: CalibrationSettings) -> Section:
        """Calibrate; the saved model and the traces of later stages get the temperatures where that is wanted."""
        traces, held_out = run.traces, run.traces.need("threshold", "calibrate").raw
        temperatures = fit_temperatures(held_out, settings.max_ece)
        shown = {held_out.split: held_out} | {name: traces.splits[name].raw for name in traces.all_off}
        found = Calibration(
            run=run.run.name,
            fitted_on=held_out.split,
            max_ece=settings.max_ece,
            head_depths=held_out.head_depths,
            temperatures=temperatures,
            applied=settings.apply and run.run.has_weights,
            splits={
                name: SplitCalibration(
                    len(trace), tuple(measure_heads(trace)), tuple(measure_heads(trace.divided(temperatures)))
                )
                for name, trace in shown.items()
            },
            engine=run.engine.name,
        )
        run.temperatures = temperatures
        if found.applied:
            run.traces = apply_temperatures(run.run, traces, None if set(temperatures) == {1.0} else temperatures)
        elif settings.apply:
            log.info("calibrate: %s has no model/ to write the temperatures to; they are only reported", run.run.folder)
        return calibration_section(found, run.folder)
