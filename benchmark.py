"""Measure the standard suite on this machine: ``python benchmark.py``; ``--help`` lists what can be chosen.

Composes the configuration and hands it over.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from eat.runs.environment import describe_environment
from eat.suite import SuiteSettings, run_suite
from train import keep_quiet, plain


@hydra.main(version_base="1.3", config_path="conf", config_name="suite")
def main(config: DictConfig) -> Path:
    """Measure what is not recorded yet, and draw the tables and figures."""
    keep_quiet()
    options = plain(config)
    folder, fresh = options.pop("folder"), options.pop("fresh")
    settings = SuiteSettings(**options)
    data = "random tokens, lengths of SST-2 validation and IMDB test"
    environment = describe_environment(seed=settings.seed, data=data, device=settings.torch_device.type)
    return run_suite(settings, folder=folder, environment=environment, fresh=fresh)


if __name__ == "__main__":
    main()
