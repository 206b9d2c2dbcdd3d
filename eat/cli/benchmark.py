"""Measure the standard suite on this machine."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from eat.checks import folder_name, true_or_false
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys
from eat.runs.environment import describe_environment
from eat.suite import SuiteSettings, run_suite


def read_options(options: Mapping[str, Any]) -> tuple[str, bool, SuiteSettings]:
    """Check what was typed: the folder, whether to measure anew, and how much.

    Raises:
        ValueError: Naming the key that is unknown, of another type or out of range.
    """
    fields = [field.name for field in dataclasses.fields(SuiteSettings)]
    check_keys("", options, [*fields, "folder", "fresh"])
    folder = folder_name("folder", options.get("folder"))
    fresh = true_or_false("fresh", options.get("fresh", False))
    return folder, fresh, SuiteSettings(**{key: options[key] for key in fields if key in options})


@command("benchmark")
def main(config: DictConfig) -> Path:
    """Measure what is not recorded yet, and draw the tables and figures."""
    keep_quiet()
    folder, fresh, settings = read_options(plain(config))
    data = "random tokens, lengths of SST-2 validation and IMDB test"
    environment = describe_environment(seed=settings.seed, data=data, device=settings.torch_device.type)
    return run_suite(settings, folder=folder, environment=environment, fresh=fresh)
