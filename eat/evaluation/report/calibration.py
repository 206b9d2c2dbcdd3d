"""A calibration as files: every head before and after its temperature."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.evaluation.report.figures import draw_calibration
from eat.evaluation.report.table import number, render
from eat.files import write_text
from eat.traces.trace import Trace

log = logging.getLogger(__name__)


def write_calibration(folder: Path, calibration: Mapping[str, Any], raw: Trace) -> None:
    """Write calibration.json, calibration.md and calibration.png, each whole or not at all, and log the table.

    Args:
        folder: The report folder.
        calibration: What `calibrate` returned.
        raw: Raw logits of the split that is drawn.

    Raises:
        OSError: If a file cannot be written; the old one stays.
    """
    write_text(folder / "calibration.json", json.dumps(calibration, indent=1) + "\n")
    write_text(folder / "calibration.md", calibration_markdown(calibration))
    draw_calibration(raw, raw.split, folder / "calibration.png", calibration["temperatures"])
    log.info("\n%s\n\n%s\n\ncalibration: %s", calibration_table(calibration), _about(calibration), folder)


def calibration_markdown(calibration: Mapping[str, Any]) -> str:
    """Say what was fitted on what, and what it did to every head."""
    return (
        f"# Calibration of {calibration['run']}\n\n{_about(calibration)}\n\n"
        f"{calibration_table(calibration, markdown=True)}\n\n"
        "Each cell: before, after. ECE: expected calibration error, 15 bins. Brier: squared error of the "
        "probabilities, summed over the classes. AUROC: how often a wrong answer is doubted more than a right one (0.5 "
        "is chance); empty where no answer is wrong. Answers and accuracy stay the same.\n\n"
        "![reliability](calibration.png)\n"
    )


def calibration_table(calibration: Mapping[str, Any], *, markdown: bool = False) -> str:
    """Lay out every head on every split, before and after."""
    headers = ["split", "head", "temperature", "accuracy", "confidence", "ECE", "Brier", "cross-entropy", "AUROC"]
    lines = []
    for split, values in calibration["splits"].items():
        for before, after, temperature in zip(
            values["before"], values["after"], calibration["temperatures"], strict=True
        ):
            pairs = [
                f"{number(before[key], 4)}, {number(after[key], 4)}"
                for key in ("confidence", "ece", "brier", "nll", "auroc")
            ]
            name = f"{split} ({values['examples']:,})"
            lines.append([name, str(before["depth"]), number(temperature, 3), number(before["accuracy"], 4), *pairs])
    return render(headers, lines, markdown=markdown)


def _about(calibration: Mapping[str, Any]) -> str:
    bound = f"{100 * calibration['max_ece']:g} %"
    scaled = sum(value != 1 for value in calibration["temperatures"])
    done = "written into the saved model" if calibration["applied"] else "not applied: the saved model is as it was"
    return (
        f"Temperatures fitted on the {calibration['fitted_on']} split for the {scaled} of "
        f"{len(calibration['temperatures'])} heads whose ECE is above {bound} there; {done}."
    )
