"""The suite's figures: what was reached against what was asked, and cost over length and batch size."""

from collections.abc import Sequence
from pathlib import Path

from eat.benchmark.contenders import ALL_OFF, PADDED, TITLES
from eat.evaluation.report.figures import BLUE, GREEN, GREY, ORANGE, RED, drawing
from eat.suite.records import Row
from eat.suite.shapes import SHAPE_TITLES
from eat.suite.targets import Figure, Measured
from eat.suite.timed import WINDOWED_NAME, WINDOWED_PRUNED

LINES = {
    PADDED: ("Hugging Face, SDPA", GREY, "s"),
    ALL_OFF: (TITLES[ALL_OFF], ORANGE, "D"),
    WINDOWED_NAME: ("eat, windowed", BLUE, "o"),
    WINDOWED_PRUNED: ("eat, windowed and pruned", GREEN, "^"),
}


def draw_targets(points: Sequence[tuple[Figure, str, Measured]], path: Path) -> None:
    """Draw each measured figure with its interval beside the mark that it is to reach."""
    asked = list(dict.fromkeys(_name(figure) for figure, _, _ in points))
    series = list(dict.fromkeys(column for _, column, _ in points))
    with drawing(path, 9.5, 1.4 + 0.3 * len(asked)) as canvas:
        axes = canvas.subplots()
        for figure, column, measured in points:
            index = series.index(column)
            place = asked.index(_name(figure)) + 0.22 * (index - (len(series) - 1) / 2)
            colour = (BLUE, ORANGE, GREEN, GREY)[index % 4]
            low, high = measured.low or measured.value, measured.high or measured.value
            axes.plot([low, high], [place, place], "-", color=colour, linewidth=1.4)
            axes.plot(measured.value, place, "o", color=colour, markersize=4.5)
        for figure, _, _ in points:
            place = asked.index(_name(figure))
            axes.plot([figure.target] * 2, [place - 0.4, place + 0.4], "-", color=RED, linewidth=1.6)
        for index, column in enumerate(series):
            axes.plot([], [], "o-", color=(BLUE, ORANGE, GREEN, GREY)[index % 4], markersize=4.5, label=column)
        axes.plot([], [], "-", color=RED, linewidth=1.6, label="to reach (* at most)")
        axes.set_yticks(range(len(asked)), asked, fontsize=7.5)
        axes.set(ylim=(max(1, len(asked)) - 0.5, -0.5), xlabel="ratio, with bootstrap 95 % interval")
        axes.set_xlim(left=0)
        canvas.legend(loc="outside upper right", ncols=len(series) + 1, fontsize=8)


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw the cost curves: a panel for each batch size, time per call above, time per token below."""
    first, *_ = timed = [r for r in rows if r["part"] == "curves" and r["baseline"] == PADDED]
    timed = [r for r in timed if (r["shape"], r["dtype"]) == (first["shape"], first["dtype"])]
    sizes = sorted({row["batch_size"] for row in timed})
    with drawing(path, 2.6 * len(sizes) + 0.8, 5.6) as canvas:
        grid = canvas.subplots(2, len(sizes), sharex="col", sharey="row", squeeze=False)
        for size, above, below in zip(sizes, *grid, strict=True):
            for name, (label, colour, marker) in LINES.items():
                line = [r for r in timed if (r["batch_size"], r["contender"]) == (size, name)]
                lengths = [row["length"] for row in line]
                look = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.2, "label": label}
                above.plot(lengths, [row["latency_ms_p50"] for row in line], **look)
                below.plot(lengths, [1e6 / row["tokens_per_s"] for row in line], **look)
            for axes in (above, below):
                axes.set_xscale("log", base=2)
                axes.set_yscale("log")
                axes.xaxis.set_major_formatter("{x:g}")
                axes.tick_params(axis="x", labelrotation=60)
            above.set_title(f"batch {size}")
            below.set_xlabel("tokens in a sequence")
        grid[0][0].set_ylabel("ms per call, median")
        grid[1][0].set_ylabel("µs per token")
        handles, labels = grid[0][0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=2 if len(sizes) < 4 else 4, fontsize=8)
        canvas.suptitle(f"{SHAPE_TITLES[first['shape']]}, {first['dtype']}, threads: {first['threads']}", fontsize=9)


def _name(figure: Figure) -> str:
    return f"{figure.what} ({SHAPE_TITLES[figure.where['shape']]}){' *' if figure.at_most else ''}"
