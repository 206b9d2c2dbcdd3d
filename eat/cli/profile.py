"""Tell where finished runs spend their time."""

from omegaconf import DictConfig

from eat.cli.candidates import read_options
from eat.cli.command import command
from eat.cli.compose import keep_quiet
from eat.evaluation.profile import ProfileSettings, profile_runs
from eat.results.profile import write_profiles
from eat.tables import Row


@command("profile")
def main(config: DictConfig) -> list[Row]:
    """Measure, write the tables, and print them."""
    keep_quiet()
    candidates, folder, places, options = read_options(config, ProfileSettings)
    profiled = profile_runs(candidates, ProfileSettings(**options), data_places=places)
    print(write_profiles(profiled, folder))
    return profiled.rows
