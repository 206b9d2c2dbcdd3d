"""Draw the figures of all finished runs below some folders."""

from collections.abc import Sequence
from pathlib import Path

from eat.checks import folder_name, several
from eat.results.collect import collect
from eat.results.figures import draw_all
from eat.runs.finished import runs_beside
from eat.suite.records import read_part


def draw_below(
    results: str | Path | Sequence[str | Path], folder: str | Path = "figures", curves: str | Path | None = None
) -> list[str]:
    """Draw every figure of every suite among the finished runs below some folders.

    Args:
        results: Folder of finished runs, however deep, or a list of such folders.
        folder: Gets a folder for each task, backbone, budget and protocol, with each figure as PNG and PDF.
        curves: A curves.csv of the standard benchmark, for measured times beside counted work; None leaves them out.

    Returns:
        Notes, a line each: what a figure leaves out, and which figure or run is left out, with the reason.

    Raises:
        FileNotFoundError: If a folder is not there, or there is no run below.
    """
    target = Path(folder_name("folder", folder))
    places = [results] if isinstance(results, str | Path) else several("results", results, "[results/sst2]")
    if not places:
        raise ValueError("results: expected a folder of finished runs, or several, got none")
    if curves is not None and not Path(folder_name("curves", curves)).is_file():
        raise FileNotFoundError(f"curves: no file {curves}; `eat benchmark parts=[curves]` writes a curves.csv")
    runs, notes = [], []
    for place in dict.fromkeys(Path(folder_name("results", place)) for place in places):
        if not place.is_dir():
            raise FileNotFoundError(f"results: no folder {place}; {runs_beside(place)}")
        found, problems = collect(place)
        if not found and not problems:
            raise FileNotFoundError(f"results: no run below {place}, which is a folder with config.yaml")
        runs += found
        notes += [f"left out: {problem}" for problem in problems]
    return notes + draw_all(runs, target, () if curves is None else read_part(Path(curves)))
