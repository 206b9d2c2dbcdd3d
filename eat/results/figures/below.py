"""Draw the figures of all finished runs below some folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from eat.checks import folder_name, several
from eat.results.figures import draw_all
from eat.runs.finished import FinishedRun, runs_beside
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
        ValueError: If runs that belong together answer other examples, or an experiment has a seed twice.
    """
    target = Path(folder_name("folder", folder))
    places = [results] if isinstance(results, str | Path) else several("results", results, "[results/sst2]")
    folders = [found for place in places for found in run_folders(Path(folder_name("results", place)))]
    if curves is not None and not Path(folder_name("curves", curves)).is_file():
        raise FileNotFoundError(f"curves: no file {curves}; `eat benchmark parts=[curves]` writes a curves.csv")
    runs, notes = [], []
    for found in dict.fromkeys(folders):
        try:
            runs.append(FinishedRun(found, "results"))
        except (FileNotFoundError, ValueError) as error:
            notes.append(f"left out: {error}")
    return notes + draw_all(runs, target, () if curves is None else read_part(Path(curves)))


def run_folders(folder: Path) -> Iterator[Path]:
    """Yield the run folders in a folder, however deep, in order; hidden ones and those set aside are no runs.

    Raises:
        FileNotFoundError: If the folder is not there, or there is none below.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"results: no folder {folder}; {runs_beside(folder)}")
    found = sorted(path.parent for path in folder.rglob("config.yaml"))
    shown = [run for run in found if not _is_set_aside(run.relative_to(folder))]
    if not shown:
        raise FileNotFoundError(f"results: no run below {folder}, which is a folder with config.yaml")
    yield from shown


def _is_set_aside(run: Path) -> bool:
    return any(part.startswith(".") for part in run.parts) or ".old-" in run.name
