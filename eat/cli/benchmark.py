"""Measure the standard suite on this machine."""

from pathlib import Path

from omegaconf import DictConfig

from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.runs.environment import describe_environment
from eat.suite import SuiteSettings, run_suite


@command("benchmark")
def main(config: DictConfig) -> Path:
    """Measure what is not recorded yet, and draw the tables and figures."""
    keep_quiet()
    options = plain(config)
    folder, fresh = options.pop("folder"), options.pop("fresh")
    settings = SuiteSettings(**options)
    data = "random tokens, lengths of SST-2 validation and IMDB test"
    environment = describe_environment(seed=settings.seed, data=data, device=settings.torch_device.type)
    return run_suite(settings, folder=folder, environment=environment, fresh=fresh)
