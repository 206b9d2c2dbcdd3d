"""Tell where finished runs spend their time."""

from pathlib import Path

from omegaconf import DictConfig

from eat.checks import folder_name
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.options import check_keys, need
from eat.cli.settings import defaults
from eat.evaluation.profile import ProfileSettings, profile_runs
from eat.results.profile import write_profiles
from eat.runs.data import PLACES
from eat.tables import Row

NEEDED = {"candidates": "finished runs by name, as {dense: runs/sst2/...}", "output": "a folder"}


@command("profile")
def main(config: DictConfig) -> list[Row]:
    """Measure, write the tables, and print them."""
    keep_quiet()
    for key, expected in NEEDED.items():
        need(config, key, expected, "")
    options = plain(config)
    check_keys("", options, [*NEEDED, "data", *defaults(ProfileSettings)])
    candidates, output, places = (options.pop(key) for key in (*NEEDED, "data"))
    check_keys("data.", places, PLACES)
    folder = Path(folder_name("output", output))
    profiled = profile_runs(candidates, ProfileSettings(**options), data_places=places)
    print(write_profiles(profiled, folder))
    return profiled.rows
