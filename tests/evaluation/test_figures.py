"""What a report's figures draw: the smallest batch size that was timed, by name, and no panel without points."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from eat.evaluation.report.figures import draw_frontier, draw_runs, run_looks
from eat.evaluation.report.table import Row, make_row

pytestmark = pytest.mark.figures

COUNTED = "executed FLOPs / dense, unpadded, full depth"
FACTS = {
    "task": "made_up",
    "split": "validation",
    "metric": "accuracy",
    "examples": 40,
    "model": "eat",
    "exit": "never",
}


def row(run: str = "one", size: int | None = None, **more: Any) -> Row:
    timed = {"batch_size": size, "threads": 1, "engine": "eat", "examples_per_s": 10.0 * size} if size else {}
    return make_row(**(FACTS | {"run": run, "value": 0.8, "flops_ratio": 0.5} | timed | more))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path, **_: Any) -> None:
        figures.append(figure)
        path.write_bytes(b"drawn")

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.mark.parametrize(
    ("sizes", "titles", "labels"),
    [
        ((None,), [""], [COUNTED]),
        ((1, 8), ["measured, threads: 1", "counted"], ["mean latency at batch size 1, ms", COUNTED]),
        ((8, 32), ["measured, threads: 1", "counted"], ["mean latency at batch size 8, ms", COUNTED]),
    ],
)
def test_a_frontier(
    sizes: tuple[int | None, ...], titles: list[str], labels: list[str], drawn: list[Figure], tmp_path: Path
) -> None:
    rows = [row(size=size) for size in sizes]
    draw_frontier(rows, "validation", tmp_path / "frontier.png")
    assert [axes.get_title() for axes in drawn[0].axes] == titles
    assert [axes.get_xlabel() for axes in drawn[0].axes] == labels
    draw_runs(rows, {"one": "one"}, tmp_path / "combined.png")
    assert [axes.get_xlabel() for axes in drawn[1].axes] == labels


def test_many_runs_differ_in_colour_or_dashes_and_stand_beside_the_panels(drawn: list[Figure], tmp_path: Path) -> None:
    runs = [f"run {i}" for i in range(20)]
    draw_runs([row(run) for run in runs], {run: run for run in runs}, tmp_path / "combined.png")
    (axes,) = drawn[0].axes
    assert axes.get_legend() is None and len(drawn[0].legends[0].get_texts()) == 20
    assert len({tuple(look.values()) for look in run_looks(runs).values()}) == 20
