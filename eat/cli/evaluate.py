"""Evaluate a finished run; what is measured is the saved model with its saved configuration."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from eat.cli.compose import HYDRA, plain
from eat.cli.settings import register
from eat.evaluation import Report, evaluate_run
from eat.runs.finished import runs_beside

register()


@hydra.main(**HYDRA, config_name="evaluate")
def main(config: DictConfig) -> Report:
    """Evaluate, and return what a multirun combines."""
    if OmegaConf.is_missing(config, "run"):
        raise ValueError(f"run: expected the folder of a finished run, got none; {runs_beside(Path('runs/x'))}")
    options = plain(config)
    data = {f"data_{key}": value for key, value in options.pop("data").items()}
    return evaluate_run(options.pop("run"), **data, **options)
