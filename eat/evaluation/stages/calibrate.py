"""Calibrate: give a temperature to each head whose probabilities cannot be trusted."""

from eat.evaluation.calibration import CalibrationSettings, calibrate
from eat.evaluation.context import Evaluation
from eat.evaluation.report.calibration import calibration_section
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import Stage


class Calibrate(Stage):
    """Fit temperatures on the threshold split; from here on the model answers with them, where they are applied."""

    Settings = CalibrationSettings
    asked_by = ("apply", "max_ece")

    def __call__(self, run: Evaluation, settings: CalibrationSettings) -> Section:
        """Calibrate, and hand the traces on as the calibrated model answers."""
        found = calibrate(run.run, run.traces, settings)
        if found.applied:
            run.traces = run.traces.calibrated(found.model_temperatures)
        run.temperatures = found.temperatures
        return calibration_section(found, run.folder)
