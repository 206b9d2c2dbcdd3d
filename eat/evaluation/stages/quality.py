"""Quality: what full depth and the own operating point are worth, beside what they cost."""

from eat.evaluation.context import Evaluation
from eat.evaluation.report.quality import quality_section
from eat.evaluation.report.section import Section
from eat.evaluation.stages.stage import NoSettings, Stage


class Quality(Stage):
    """Measure full depth, the own operating point, and those that were timed or are swept."""

    def __call__(self, run: Evaluation, settings: NoSettings) -> Section:
        """Measure on the traces."""
        return quality_section(run)
