"""Make the tables of finished runs anew, and what pages show of them."""

import dataclasses
from pathlib import Path

from omegaconf import DictConfig

from eat.checks import one_of
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.results.command import TableSettings, make_tables


@command("tables")
def main(config: DictConfig) -> list[Path]:
    """Tabulate, and return the pages that changed."""
    keep_quiet()
    options = plain(config)
    known = [field.name for field in dataclasses.fields(TableSettings)]
    for key in options:
        one_of(key, key, known)
    return make_tables(TableSettings(**options))
