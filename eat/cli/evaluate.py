"""Evaluate a finished run; what is measured is the saved model with its saved configuration."""

import hydra
from omegaconf import DictConfig

from eat.cli.compose import CONF, plain
from eat.cli.settings import register
from eat.evaluation import Report, evaluate_run

register()


@hydra.main(version_base="1.3", config_path=CONF, config_name="evaluate")
def main(config: DictConfig) -> Report:
    """Evaluate, and return what a multirun combines."""
    options = plain(config)
    data = options.pop("data")
    return evaluate_run(options.pop("run"), data_root=data["root"], **options)
