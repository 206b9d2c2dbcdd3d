"""A certificate, or its refusal, as files and as the lines that are printed."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eat.evaluation.certify.losses import RISKS
from eat.evaluation.report.table import number, render
from eat.exits.points import OperatingPoint
from eat.files import write_text

log = logging.getLogger(__name__)

METHOD_NAMES = {
    "pareto_testing": "Pareto Testing (fixed-sequence testing along the front of the threshold split)",
    "learn_then_test": "Learn then Test (fixed-sequence testing of one criterion's thresholds)",
    "conformal_risk_control": "Conformal Risk Control (loss made monotone along one criterion's thresholds)",
}
SHOWN = 12


def write_certificate(folder: Path, result: Mapping[str, Any], *, stored: bool) -> str:
    """Write certificate.json and certificate.md, each whole or not at all, and log what came out.

    Args:
        folder: The report folder.
        result: What `make_certificate` returned.
        stored: Whether the saved model carries it now.

    Returns:
        The line that was logged.

    Raises:
        OSError: If a file cannot be written; the old one stays.
    """
    write_text(folder / "certificate.json", json.dumps(result, indent=1) + "\n")
    write_text(folder / "certificate.md", certificate_markdown(result))
    line = outcome(result)
    if result["certificate"] and not stored:
        line += ". No weights here: no model carries it"
    differs = result["comparison"]["differs_in"]
    if differs:
        line += f". CAUTION: the certification split differs from the reported one in {' and '.join(differs)}"
    log.info("\n%s\n\ncertificate: %s", line, folder / "certificate.md")
    return line


def outcome(result: Mapping[str, Any]) -> str:
    """Say in a line what is certified, or what is missing."""
    certificate = result["certificate"]
    if certificate is None:
        return _refused(result)
    point, run = OperatingPoint.of(certificate["exit"]).label, certificate["run"]
    return f"certified, {_budget(result)}: {point} ({_cost(certificate)}; run {run})"


def certificate_markdown(result: Mapping[str, Any]) -> str:
    """Write the report."""
    parts = [f"# Certificate: {_budget(result)}", outcome(result) + "."]
    if result["certificate"]:
        parts += [statement(result), _observed(result)]
    parts += ["## The certification split", _comparison(result), "## Tested", _tested(result)]
    return "\n\n".join(parts) + "\n"


def card_section(result: Mapping[str, Any]) -> str:
    """Write what the model card says of a certificate."""
    certificate = result["certificate"]
    point = OperatingPoint.of(certificate["exit"]).label
    return (
        f"## Certified operating point\n\n{point}: loading the model runs at it. Expected: "
        f"{_cost(certificate)}.\n\n"
        f"{statement(result)}\n\n{_comparison(result)}\n\nThe certificate is about these weights, this pruning, "
        "attention and heads. Where one of them has changed, the model says so when loaded, and runs at full depth."
    )


def _cost(certificate: Mapping[str, Any]) -> str:
    depth = f"average depth {certificate['average_depth']:.2f} of {certificate['num_layers']}"
    return f"{depth}, {certificate['flops_ratio']:.3f} of the FLOPs of dense full depth"


def statement(result: Mapping[str, Any]) -> str:
    """Say exactly what is guaranteed."""
    certificate = result["certificate"]
    says = f"at most {100 * certificate['bound']:g} % {RISKS[certificate['loss']].says}"
    if certificate["confidence"] is None:
        sure = "In expectation over calibration sets and texts (not with high probability for this one), "
    else:
        sure = f"With probability {100 * certificate['confidence']:g} % over the draw of the calibration set, "
    return (
        f"{sure}{says}; compared with {certificate['reference']}, on texts like those of the certification split. "
        f"Method: {METHOD_NAMES[certificate['method']]}; {certificate['examples']:,} examples (fingerprint "
        f"{certificate['split']}), observed there {100 * certificate['observed']:.3f} %."
        + (f" {certificate['caveat']}" if certificate.get("caveat") else "")
    )


def _refused(result: Mapping[str, Any]) -> str:
    refusal = result["refusal"]
    text = f"not certified, {_budget(result)}: {refusal['reason']}"
    if refusal["exit"] is None:
        return text
    point = OperatingPoint.of(refusal["exit"]).label
    text += f". {point} costs {100 * refusal['mean']:.3f} % of {refusal['examples']:,} examples"
    if refusal["examples_needed"]:
        text += f"; certifying that takes {refusal['examples_needed']:,}"
    return text


def _budget(result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    confidence = f"{100 * settings['confidence']:g} % confidence"
    how = "in expectation" if settings["method"] == "conformal_risk_control" else confidence
    return f"{settings['loss']} at most {100 * settings['max_drop']:g} %, {how}"


def _observed(result: Mapping[str, Any]) -> str:
    certificate, reported = result["certificate"], result["reported"]
    points, low, high = reported["points"]
    headers = ["split", "examples", certificate["loss"], "average depth", "FLOPs ratio"]
    lines = [
        [
            where,
            f"{facts['examples']:,}",
            number(loss, 4),
            number(facts["average_depth"], 2),
            number(facts["flops_ratio"]),
        ]
        for where, facts, loss in (
            ("certification", certificate, certificate["observed"]),
            (reported["split"], reported, reported["loss"]),
        )
    ]
    return (
        render(headers, lines, markdown=True)
        + f"\n\nOn {reported['split']}, which neither chose nor certified it: {reported['metric']} "
        f"{number(reported['value'], 4)}, {points:+.2f} points [{low:+.2f}, {high:+.2f}] to the same full depth."
    )


def _comparison(result: Mapping[str, Any]) -> str:
    comparison = result["comparison"]
    headers = ["split", "examples", "tokens: mean", "5 %", "50 %", "95 %", "full-depth accuracy [95 %]"]
    lines = []
    for facts in comparison["splits"]:
        lengths = [number(facts["mean_length"], 1), *(number(q, 0) for q in facts["length_percentiles"].values())]
        low, high = facts["accuracy_interval"]
        accuracy = f"{facts['full_depth_accuracy']:.4f} [{low:.4f}, {high:.4f}]"
        lines.append([facts["name"], f"{facts['examples']:,}", *lengths, accuracy])
    tests = {"length": "Mann-Whitney U", "full-depth accuracy": "Fisher's exact test"}
    values = ", ".join(f"{name} p = {p:.3g} ({tests[name]})" for name, p in comparison["p_values"].items())
    differs = " and ".join(comparison["differs_in"])
    verdict = (
        f"The certification split differs in {differs}: the certificate need not hold on texts like the reported ones."
        if differs
        else "No difference seen."
    )
    return f"{render(headers, lines, markdown=True)}\n\nTwo-sample tests: {values}. {verdict}"


def _tested(result: Mapping[str, Any]) -> str:
    """Lay out the end of the tested sequence: what passed last, and what did not."""
    tested = result["tested"]
    names = {point["run"] for point in tested}
    headers = ["operating point", "threshold split", "lost", "mean", "p-value", "upper bound", "passes"]
    lines = [
        [
            OperatingPoint.of(point["exit"]).label + (f", {point['run']}" if len(names) > 1 else ""),
            number(point["risk"], 4),
            f"{point['lost']:.4g}",
            number(point["mean"], 4),
            number(point.get("p_value"), 4),
            number(point.get("upper_bound"), 4),
            "yes" if point["passes"] else "no",
        ]
        for point in tested[-SHOWN:]
    ]
    return (
        f"{len(tested)} of {result['sequence']} operating points, from cautious to fast as the threshold split orders "
        f"them, until the first that fails; the last {len(lines)}:\n\n{render(headers, lines, markdown=True)}\n\n"
        "Upper bound: of this point taken alone. `certificate.json` has all."
    )
