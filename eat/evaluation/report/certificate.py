"""A certificate, or its refusal, as files, as a part of the model card and as the line that is printed."""

import json
from collections.abc import Sequence
from pathlib import Path

from eat.evaluation.certify.certificate import IN_EXPECTATION, Certificate, Certification, ReportedLoss
from eat.evaluation.certify.kept import CURRENT, Attempt
from eat.evaluation.certify.losses import RISKS
from eat.evaluation.certify.settings import CertifySettings
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, points_text, render
from eat.models.granted import EAT
from eat.traces.quality import Point
from eat.traces.splits import SIGNIFICANT, SplitComparison

METHOD_NAMES = {
    "pareto_testing": "Pareto Testing (fixed-sequence testing along the front of the threshold split)",
    "learn_then_test": "Learn then Test (fixed-sequence testing of one criterion's thresholds)",
    "conformal_risk_control": "Conformal Risk Control (loss made monotone along one criterion's thresholds; its "
    "guarantee is an expectation)",
}
SHOWN = 12
MANY = (
    "Each certificate holds by itself, at its confidence; to keep one because it passed, or because it came out better "
    "than the others, is not covered by it."
)


def certificate_section(result: Certification, folder: Path, name: str, *, stored: bool) -> Section:
    """Lay out ``<name>.json``, ``<name>.md`` and the line that is printed.

    ``stored``: the saved model carries the certificate now.
    """
    line = outcome(result)
    if result.certificate and not stored:
        line += ". No weights here: no model carries it"
    if result.comparison.differs_in:
        differs = " and ".join(result.comparison.differs_in)
        line += f". CAUTION: the certification split differs from the reported one in {differs}"
    return Section(
        files={
            f"{name}.json": json.dumps(result.to_json(), indent=1) + "\n",
            f"{name}.md": certificate_markdown(result),
        },
        console=f"{line}\n\ncertificate: {folder / name}.md",
    )


def attempts_section(made: Sequence[Attempt], folder: Path) -> Section:
    """Lay out certificates.md, where there was more than one attempt on a split; the first is the current one."""
    if len(made) < 2:
        return Section()
    headers = ["certificate", "budget", "operating point", "average depth", "FLOPs"]
    lines = []
    for attempt in made:
        found = attempt.certificate
        cost = (
            [found.exit.label, number(found.average_depth, 2), number(found.flops_ratio)]
            if found
            else ["refused", "-", "-"]
        )
        lines.append([f"[{attempt.name}]({attempt.name}.md)", budget_text(attempt.settings), *cost])
    return Section(
        files={
            "certificates.md": f"# {len(made)} attempts on one certification split\n\n"
            f"{render(headers, lines, markdown=True)}\n\n{CURRENT} is what the run stands at. {MANY}\n"
        },
        console=f"CAUTION: {len(made)} attempts on this certification split. {MANY}\n\n{folder / 'certificates.md'}",
    )


def certificate_note(certificate: Certificate) -> str:
    """Say in a clause what is certified."""
    return _claim(certificate.loss, certificate.bound, certificate.confidence, certificate.by)


def outcome(result: Certification) -> str:
    """Say in a line what is certified, or what is missing."""
    certificate = result.certificate
    if certificate is None:
        return f"not certified, {budget_text(result.settings)}: {_refused(result)}"
    engine = "" if certificate.engine == EAT else f", engine {certificate.engine}"
    what = f"{certificate.exit.label} ({_cost(certificate)}; run {certificate.run}{engine})"
    return f"certified, {budget_text(result.settings)}: {what}"


def certificate_markdown(result: Certification) -> str:
    """Write the report."""
    parts = [f"# Certificate: {budget_text(result.settings)}", outcome(result) + "."]
    if result.certificate and result.reported:
        parts += [statement(result.certificate), _observed(result, result.certificate, result.reported)]
    parts += ["## The certification split", _comparison(result.comparison)]
    parts += [f"## By {result.settings.by}", _groups(result)] if result.groups else []
    parts += ["## Tested", _tested(result)]
    return "\n\n".join(parts) + "\n"


def card_section(certificate: Certificate, comparison: SplitComparison) -> str:
    """Write what the model card says of a certificate."""
    return (
        f"## Certified operating point\n\n{certificate.exit.label}: loading the model runs at it. Expected: "
        f"{_cost(certificate)}.\n\n"
        f"{statement(certificate)}\n\n{_comparison(comparison)}\n\nThe certificate is about these weights, this "
        "pruning, attention and heads. Where one of them has changed, the model says so when loaded, and runs at full "
        "depth."
    )


def statement(certificate: Certificate) -> str:
    """Say exactly what is guaranteed."""
    says = f"at most {100 * certificate.bound:g} % {RISKS[certificate.loss].says}"
    if certificate.groups:
        says = f"in each of the groups by {certificate.by} ({', '.join(certificate.groups)}), {says}"
    if certificate.confidence is None:
        sure = f"This is a guarantee {IN_EXPECTATION}. On average over draws, "
    else:
        sure = f"With probability {100 * certificate.confidence:g} % over the draw of the calibration set, "
    return (
        f"{sure}{says}; compared with {certificate.reference}, on texts like those of the certification split. "
        f"Method: {METHOD_NAMES[certificate.method]}; {certificate.examples:,} examples (fingerprint "
        f"{certificate.split}), observed there {100 * certificate.observed:.3f} %."
        + (f" {certificate.caveat}" if certificate.caveat else "")
    )


def _cost(certificate: Certificate) -> str:
    depth = f"average depth {certificate.average_depth:.2f} of {certificate.num_layers}"
    return f"{depth}, {certificate.flops_ratio:.3f} of the FLOPs of dense full depth"


def _refused(result: Certification) -> str:
    refusal = result.refusal
    if refusal is None or refusal.failed is None:
        return refusal.reason if refusal else ""
    failed, examples, mean, where = refusal.failed, result.comparison.splits[0].examples, refusal.failed.mean or 0, ""
    if refusal.group is not None and result.groups:
        examples, mean, where = refusal.group.examples, refusal.group.mean, f" of group {refusal.group.name}"
    text = f"{refusal.reason}. {failed.exit.label} costs {100 * mean:.3f} % of {examples:,} examples{where}"
    if refusal.examples_needed:
        text += f"; certifying that takes {refusal.examples_needed:,} (train with a larger data.certification_examples)"
    return text


def budget_text(settings: CertifySettings) -> str:
    """Say what was asked for."""
    confidence = None if settings.in_expectation else settings.confidence
    return _claim(settings.loss, settings.max_drop, confidence, settings.by)


def _claim(loss: str, bound: float, confidence: float | None, by: str | None) -> str:
    how = "in expectation" if confidence is None else f"{100 * confidence:g} % confidence"
    return f"{loss} at most {100 * bound:g} %{f' in each group by {by}' if by else ''}, {how}"


def _observed(result: Certification, certificate: Certificate, reported: Point) -> str:
    split, loss = result.comparison.splits[1], result.reported_loss
    there = number(certificate.average_depth, 2), number(certificate.flops_ratio)
    lines = [["certification", f"{certificate.examples:,}", number(certificate.observed, 4), *there]]
    here = number(reported.avg_depth, 2), number(reported.flops_ratio)
    lines += [[split.name, f"{split.examples:,}", "-" if loss is None else _with_interval(loss), *here]]
    headers = ["split", "examples", f"{certificate.loss} [95 %]", "average depth", "FLOPs ratio"]
    text = (
        render(headers, lines, markdown=True)
        + f"\n\nOn {split.name}, which neither chose nor certified it: {split.metric} "
        f"{number(reported.metrics[split.metric], 4)}, {points_text(reported.delta, ' points')} to the same full depth."
    )
    return text if loss is None or loss.mean <= certificate.bound else f"{text} {_above(loss, certificate, split.name)}"


def _with_interval(loss: ReportedLoss) -> str:
    return f"{loss.mean:.4f} [{loss.interval[0]:.4f}, {loss.interval[1]:.4f}]"


def _above(loss: ReportedLoss, certificate: Certificate, split: str) -> str:
    """Say what it means that a loss lies above the bound: a mean over a few texts may, by chance."""
    text = (
        f"The loss there is above the certified {certificate.bound:g}: were the mean over all such texts just that, a "
        f"split like {split} would show one at least as large with probability {loss.p_value:.2g}"
    )
    if loss.p_value < SIGNIFICANT:
        return f"{text}. CAUTION: this speaks against the certificate on texts like those of {split}."
    return f"{text}, so this is no contradiction."


def _comparison(comparison: SplitComparison) -> str:
    headers = ["split", "examples", "tokens: mean", "5 %", "50 %", "95 %", "full-depth accuracy [95 %]"]
    lines = []
    for facts in comparison.splits:
        lengths = [number(facts.mean_length, 1), *(number(q, 0) for q in facts.length_percentiles.values())]
        low, high = facts.accuracy_interval or (0.0, 1.0)
        accuracy = f"{(facts.right or 0) / facts.examples:.4f} [{low:.4f}, {high:.4f}]"
        lines.append([facts.name, f"{facts.examples:,}", *lengths, accuracy])
    tests = {"length": "Mann-Whitney U", "full-depth accuracy": "Fisher's exact test"}
    values = ", ".join(f"{name} p = {p:.3g} ({tests[name]})" for name, p in comparison.p_values.items())
    differs = " and ".join(comparison.differs_in)
    verdict = (
        f"The certification split differs in {differs}: the certificate need not hold on texts like the reported ones."
        if differs
        else "No difference seen."
    )
    return f"{render(headers, lines, markdown=True)}\n\nTwo-sample tests: {values}. {verdict}"


def _groups(result: Certification) -> str:
    """Lay out what the certified point, or the first that failed, lost in each group."""
    headers = ["group", "examples", "lost", "gained", "mean", "p-value", "upper bound", "passes"]
    lines = [
        [
            group.name,
            f"{group.examples:,}",
            *(f"{value:.4g}" for value in (group.lost, group.gained)),
            *(number(value, 4) for value in (group.mean, group.p_value, group.upper_bound)),
            "yes" if group.passes else "no",
        ]
        for group in result.groups
    ]
    point = "The certified point" if result.certificate else "The first point that failed"
    how = (
        "Each group's bound holds in expectation."
        if result.settings.in_expectation
        else "The level is not split between groups: that one of them exceeds the bound is given up only where each "
        "passes at the full level (intersection-union test). Upper bound: of this group taken alone."
    )
    return f"{point}:\n\n{render(headers, lines, markdown=True)}\n\nA point passes where every group does. {how}"


def _tested(result: Certification) -> str:
    """Lay out the end of the tested sequence: what passed last, and what did not."""
    tested = result.tested
    several = len({point.run for point in tested}) > 1
    headers = ["operating point", "threshold split", "lost", "mean", "p-value", "upper bound", "passes"]
    lines = [
        [
            point.exit.label + (f", {point.run}" if several else ""),
            number(point.risk, 4),
            f"{point.lost:.4g}",
            *(number(value, 4) for value in (point.mean, point.p_value, point.upper_bound)),
            "yes" if point.passes else "no",
        ]
        for point in tested[-SHOWN:]
    ]
    return (
        f"{len(tested)} of {result.sequence} operating points, from cautious to fast as the threshold split orders "
        f"them, until the first that fails; the last {len(lines)}:\n\n{render(headers, lines, markdown=True)}\n\n"
        "Upper bound: of this point taken alone. `certificate.json` has all."
    )
