"""Make all tables of results anew: the ablation's of each task, and what pages show."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from eat.checks import folder_name, number, several, shown, true_or_false
from eat.results.ablation import AblationSettings, write_ablation
from eat.results.collect import is_wanted
from eat.results.pages import check, check_manifests, rewrite
from eat.runs.saved import read_config

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableSettings(AblationSettings):
    """What is made."""

    folder: str = "results"  # finished runs, at any depth; a task's tables go to <folder>/<task>
    tasks: str | Sequence[str] | None = None  # one task or several; null for each that has runs of a suite
    pages: Sequence[str] = ("README.md", "docs/*.md")  # pages whose marked parts are made anew
    check: bool = False  # true writes nothing: it says what is stale, and fails where something is

    def __post_init__(self) -> None:
        """Refuse a value of another type or out of range."""
        folder_name("folder", self.folder)
        if self.tasks is not None and not isinstance(self.tasks, str):
            several("tasks", self.tasks, "[sst2,mnli]")
        for page in several("pages", self.pages, "[README.md]"):
            if not isinstance(page, str) or not page or page.startswith("/"):
                raise ValueError(f"pages: expected files within this folder, such as docs/*.md, got {shown(page)}")
        suites: list[object] = [self.suite]
        if not isinstance(self.suite, str):
            suites = [] if self.suite is None else several("suite", self.suite, "[ablation,systems]")
        for name, value in (("baseline", self.baseline), *(("suite", suite) for suite in suites)):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{name}: expected the name of experiments, got {shown(value)}")
        if self.within is not None:
            number("within", self.within, at_least=0)
        true_or_false("check", self.check)


def make_tables(settings: TableSettings, root: Path = Path()) -> list[Path]:
    """Make tables and pages anew, or check them; return the pages that changed.

    ``root`` is what pages, and the sources that they name, are relative to.

    Raises:
        FileNotFoundError: If the folder is not there, or a task has no finished run.
        ValueError: If something is stale, with ``check``, or a marker does not fit.
    """
    folder = root / settings.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"folder: expected a folder of finished runs, {folder} is not there")
    pages = [page for pattern in settings.pages for page in sorted(root.glob(pattern))]
    if settings.check:
        stale = [*check_manifests(folder), *(fault for page in pages for fault in check(page, root))]
        if stale:
            for fault in stale:
                log.error("%s", fault)
            raise ValueError(f"check: {len(stale)} parts of tables and pages are stale, as listed; run `make tables`")
        log.info("%s and %d pages are up to date", folder, len(pages))
        return []
    tasks = _tasks(folder, settings)
    if not tasks and settings.suites:
        suites = " or ".join(settings.suites)
        log.warning("no run of %s in %s; suite=null takes those of every experiment", suites, folder)
    for task in tasks:
        text, problems = write_ablation(folder, task, settings)
        tables = text.partition("\n## Published")[0].partition("\n## Left out")[0]  # which is said below
        log.info("\n%s\n\n%s", tables, folder / task / "ablation.md")
        for problem in problems:
            log.warning("%s", problem)
    changed = [page for page in pages if rewrite(page, root)]
    log.info("pages made anew: %s", ", ".join(map(str, changed)) or "none, all were up to date")
    return changed


def _tasks(folder: Path, settings: TableSettings) -> list[str]:
    """Return the tasks that are asked for, or else those with a run of a suite."""
    if settings.tasks is not None:
        return [settings.tasks] if isinstance(settings.tasks, str) else list(map(str, settings.tasks))
    tasks = [path for path in sorted(folder.glob("*")) if path.is_dir()]
    return [task.name for task in tasks if any(_is_of(run, settings) for run in task.rglob("config.yaml"))]


def _is_of(path: Path, settings: TableSettings) -> bool:
    try:
        return is_wanted(read_config(path.parent, "run"), (), settings.suites)
    except ValueError:  # which is said where the task's runs are read
        return False
