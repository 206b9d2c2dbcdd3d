"""Contenders of a benchmark: every engine, and ours at every operating point."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eat.benchmark.engines import EAT, ENGINES, Call, Saved, Source
from eat.benchmark.engines import PADDED as PADDED
from eat.benchmark.engines.packed import packed_call
from eat.exits.points import OperatingPoint
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import ALL_OFF_PARTS, all_off, variant

ALL_OFF = "eat_all_off"
"""Ours with everything off, which saved work is divided by."""
BASELINES = (PADDED, ALL_OFF)
"""What speed-ups are over."""
TITLES: Mapping[str, str] = {name: engine.title for name, engine in ENGINES.items() if name != EAT} | {
    ALL_OFF: "eat, everything off"
}
"""Names of the baselines in tables and figures, in their order there."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to answer a batch."""

    name: str
    engine: str  # what runs it: a key of `ENGINES`
    call: Call  # batch in, logits out
    model: AdaptiveForSequenceClassification | None = None  # ours behind it, whose work is counted; None for others
    exit: OperatingPoint | None = None  # operating point, of eat's own engine or another; None for baselines
    grouped: bool = False  # whether its batches hold examples of like length
    saved: Saved | None = None  # the same contender on disk, for the process that measures its memory


@dataclasses.dataclass(frozen=True)
class EnginePoint:
    """An operating point that another engine than eat's own serves."""

    engine: str  # key of `ENGINES`
    exit: OperatingPoint
    model: AdaptiveForSequenceClassification  # the weights as trained, with the temperatures of that engine

    @property
    def name(self) -> str:
        """Name of the contender: what comes before the colon is the engine."""
        return f"{self.engine}: {self.exit.label}"


def ours(name: str, model: AdaptiveForSequenceClassification, **more: Any) -> Contender:
    """Enter one of our models on packed rows."""
    return Contender(name, EAT, packed_call(model), model, **more)


def build_contenders(
    source: Source,
    exits: Sequence[OperatingPoint] = (),
    *,
    shortcuts: Mapping[str, AdaptiveForSequenceClassification] = MappingProxyType({}),
    folder: Path | None = None,
    absent: Collection[str] = (),
    memory: bool = True,
    points: Sequence[EnginePoint] = (),
) -> tuple[Contender, ...]:
    """List the contenders for a trained model, which is not changed; the shortcuts are measured with everything off.

    Engines write to ``folder``, and need it as long as contenders are used; without it those that need an export are
    left out. For ``memory`` the others are written as well: other processes load them. ``points`` are what engines that
    take part serve, beside everything off.
    """
    contenders: list[Contender] = []
    for name, engine in ENGINES.items():
        written = folder if memory or engine.exported else None
        if name == EAT:
            contenders += _ours(source, exits, shortcuts, written)
        elif name not in absent and not (engine.exported and folder is None):
            saved = engine.save(source, written, name) if written else None
            given = source
            if engine.adaptive:
                saved = saved and dataclasses.replace(saved, parts=ALL_OFF_PARTS)
                given = dataclasses.replace(source, trained=all_off(source.trained))
            call = engine.call(saved if saved and engine.exported else given)
            contenders.append(Contender(name, name, call, grouped=engine.grouped, saved=saved))
    if folder is not None:
        contenders += [_served(point, source, folder / "points") for point in points if point.engine not in absent]
    return tuple(contenders)


def _served(point: EnginePoint, source: Source, folder: Path) -> Contender:
    """Let an engine serve its operating point from files, as it would be deployed."""
    engine = ENGINES[point.engine]
    own = dataclasses.replace(source, trained=point.model)
    saved = dataclasses.replace(engine.save(own, folder, point.engine), parts={"exit": point.exit.spec})
    return Contender(point.name, point.engine, engine.call(saved), exit=point.exit, saved=saved)


def _ours(
    source: Source,
    exits: Sequence[OperatingPoint],
    shortcuts: Mapping[str, AdaptiveForSequenceClassification],
    folder: Path | None,
) -> Iterator[Contender]:
    save = ENGINES[EAT].save
    files = save(source, folder, EAT) if folder else None
    off = files and dataclasses.replace(files, parts=ALL_OFF_PARTS)
    yield ours(ALL_OFF, all_off(source.model), saved=off)
    for name, shortcut in shortcuts.items():
        shallow = Source(all_off(Source(shortcut, source.dtype).model))
        saved = save(shallow, folder / name, EAT) if folder else None
        yield ours(name, shallow.model, saved=saved)
    for point in exits:
        saved = files and dataclasses.replace(files, parts={"exit": point.spec})
        yield ours(point.label, variant(source.model, exit=point.spec), exit=point, saved=saved)
