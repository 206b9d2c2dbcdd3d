"""Measure finished runs one text at a time."""

from pathlib import Path

from omegaconf import DictConfig

from eat.checks import folder_name
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.cli.settings import defaults
from eat.evaluation.queries import QuerySettings, measure_runs
from eat.results.queries import write_queries
from eat.runs.data import PLACES
from eat.tables import Row

NEEDED = {"candidates": "finished runs by name, as {dense: runs/sst2/...}", "output": "a folder"}


@command("queries")
def main(config: DictConfig) -> list[Row]:
    """Measure, write table and figure, and print the table."""
    keep_quiet()
    for key, expected in NEEDED.items():
        need(config, key, expected, "")
    options = plain(config)
    check_keys("", options, [*NEEDED, "title", "data", *defaults(QuerySettings)])
    candidates, output, title, places = (options.pop(key) for key in (*NEEDED, "title", "data"))
    check_keys("data.", places, PLACES)
    folder = Path(folder_name("output", output))
    measured = measure_runs(candidates, QuerySettings(**options), data_places=places)
    print(write_queries(measured, folder, title))
    return measured.rows
