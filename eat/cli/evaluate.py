"""Evaluate a finished run; what is measured is the saved model with its saved configuration."""

from pathlib import Path

from omegaconf import DictConfig

from eat.cli.command import command
from eat.cli.compose import plain
from eat.cli.jobs import earlier_report
from eat.cli.options import check_folders, check_keys, need
from eat.evaluation import Report, evaluate_run
from eat.runs.data import PLACES
from eat.runs.finished import runs_beside


@command("evaluate")
def main(config: DictConfig) -> Report:
    """Evaluate, and return what a multirun combines."""
    need(config, "run", "the folder of a finished run", f"; {runs_beside(Path('runs/x'))}")
    if (report := earlier_report()) is not None:
        return report
    options = plain(config)
    places = options.pop("data", None) or {}
    check_keys("data.", places, PLACES)
    check_folders(places)
    data = {f"data_{key}": value for key, value in places.items()}
    return evaluate_run(options.pop("run"), **data, **options)
