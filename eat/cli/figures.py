"""Draw figures over finished runs."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.results.figures.below import draw_below
from eat.runs.finished import runs_beside

log = logging.getLogger(__name__)


@command("figures")
def main(config: DictConfig) -> list[str]:
    """Draw them, and say what was left out."""
    keep_quiet()
    need(config, "results", "a folder of finished runs", f"; {runs_beside(Path('results/x'))}")
    options = plain(config)
    check_keys("", options, ("results", "folder", "curves"))
    notes = draw_below(**options)
    for note in notes:
        log.info(note)
    log.info("figures: %s", options["folder"])
    return notes
