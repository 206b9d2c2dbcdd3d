"""Operating points chosen on the threshold split, and what they lose on the reported one."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.console import points_text
from eat.evaluation.report.section import Section
from eat.evaluation.report.table import number, render

TITLE = "Thresholds chosen on the threshold split"


def choices_section(run: Evaluation) -> Section:
    """Lay out the cheapest operating point within each budget."""
    choices = run.findings.choices
    if not choices:
        nothing = "Nothing to choose: nobody leaves early, or there is no threshold split, or no sweep was made."
        return Section(TITLE, nothing)
    headers = ["may lose there", "operating point", "loses there", f"points on {run.traces.main} [95 %]"]
    headers += ["depth", "FLOPs"]
    lines = [
        [
            f"{choice.max_drop:g} point{'s' if choice.max_drop != 1 else ''}",
            choice.exit.label,
            number(choice.drop, 2),
            points_text(choice.reported.delta),
            number(choice.reported.avg_depth, 2),
            number(choice.reported.flops_ratio),
        ]
        for choice in choices
    ]
    text = (
        "The cheapest swept operating point that keeps to each budget on held-out examples, then measured on the "
        "reported split. This is a choice, not a guarantee.\n\n"
    )
    return Section(TITLE, text + render(headers, lines, markdown=True))
