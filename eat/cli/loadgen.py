"""Put a finished run under MLPerf LoadGen."""

from pathlib import Path

from omegaconf import DictConfig

from eat.checks import folder_name, true_or_false
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.cli.settings import defaults
from eat.evaluation.loadgen import LoadGenRun, LoadGenRunSettings
from eat.results.loadgen import record_loadgen
from eat.runs.data import PLACES

NEEDED = {"run": "a finished run's folder", "output": "a folder"}


@command("loadgen")
def main(config: DictConfig) -> None:
    """Measure what is not recorded yet, write table and figure, and print the table."""
    keep_quiet()
    for key, expected in NEEDED.items():
        need(config, key, expected, "")
    options = plain(config)
    check_keys("", options, [*NEEDED, "fresh", "title", "data", *defaults(LoadGenRunSettings)])
    run, output, fresh, title, places = (options.pop(key) for key in (*NEEDED, "fresh", "title", "data"))
    check_keys("data.", places, PLACES)
    folder, fresh = Path(folder_name("output", output)), true_or_false("fresh", fresh)
    measured = LoadGenRun(run, LoadGenRunSettings(**options), data_places=places)
    print(record_loadgen(measured, folder, fresh=fresh, title=title))
