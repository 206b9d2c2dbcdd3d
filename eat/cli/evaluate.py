"""Evaluate a finished run; what is measured is the saved model with its saved configuration."""

from omegaconf import DictConfig

from eat.cli.command import command
from eat.cli.compose import plain
from eat.evaluation import Report, evaluate_run


@command("evaluate")
def main(config: DictConfig) -> Report:
    """Evaluate, and return what a multirun combines."""
    options = plain(config)
    data = options.pop("data")
    return evaluate_run(options.pop("run"), data_root=data["root"], **options)
