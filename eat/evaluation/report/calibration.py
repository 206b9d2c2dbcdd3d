"""A calibration as files: every head before and after its temperature."""

import json
from pathlib import Path

from eat.evaluation.calibration import Calibration
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render


def calibration_section(found: Calibration, folder: Path) -> Section:
    """Lay out calibration.json, calibration.md, and what is printed; the heads' section draws calibration.png."""
    return Section(
        files={
            "calibration.json": json.dumps(found.to_json(), indent=1) + "\n",
            "calibration.md": calibration_markdown(found),
        },
        console=f"{calibration_table(found)}\n\n{_about(found)}\n\ncalibration: {folder}",
    )


def calibration_markdown(found: Calibration) -> str:
    """Say what was fitted on what, and what it did to every head."""
    return (
        f"# Calibration of {found.run}\n\n{_about(found)}\n\n{calibration_table(found, markdown=True)}\n\n"
        "Each cell: before, after. ECE: expected calibration error, 15 bins. Brier: squared error of the "
        "probabilities, summed over the classes. AUROC: how often a wrong answer is doubted more than a right one (0.5 "
        "is chance); empty where no answer is wrong. Answers and accuracy stay the same.\n\n"
        "![reliability](calibration.png)\n"
    )


def calibration_table(found: Calibration, *, markdown: bool = False) -> str:
    """Lay out every head on every split, before and after."""
    headers = ["split", "head", "temperature", "accuracy", "confidence", "ECE", "Brier", "cross-entropy", "AUROC"]
    lines = []
    for name, split in found.splits.items():
        for before, after, temperature in zip(split.before, split.after, found.temperatures, strict=True):
            pairs = [
                f"{number(getattr(before, key), 4)}, {number(getattr(after, key), 4)}"
                for key in ("confidence", "ece", "brier", "nll", "auroc")
            ]
            own = [f"{name} ({split.examples:,})", str(before.depth), number(temperature, 3)]
            lines.append([*own, number(before.accuracy, 4), *pairs])
    return render(headers, lines, markdown=markdown)


def _about(found: Calibration) -> str:
    scaled = sum(value != 1 for value in found.temperatures)
    done = "written into the saved model" if found.applied else "not applied: the saved model is as it was"
    return (
        f"Temperatures fitted on the {found.fitted_on} split for the {scaled} of {len(found.temperatures)} heads whose "
        f"ECE is above {100 * found.max_ece:g} % there; {done}."
    )
