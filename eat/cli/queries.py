"""Measure finished runs one text at a time."""

from omegaconf import DictConfig

from eat.cli.candidates import read_options
from eat.cli.command import command
from eat.cli.compose import keep_quiet
from eat.evaluation.queries import QuerySettings, measure_runs
from eat.results.queries import write_queries
from eat.tables import Row


@command("queries")
def main(config: DictConfig) -> list[Row]:
    """Measure, write table and figure, and print the table."""
    keep_quiet()
    candidates, folder, places, options = read_options(config, QuerySettings, "title")
    title = options.pop("title")
    measured = measure_runs(candidates, QuerySettings(**options), data_places=places)
    print(write_queries(measured, folder, title))
    return measured.rows
