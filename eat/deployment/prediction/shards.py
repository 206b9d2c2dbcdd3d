"""Predict a folder of shards: each is a file of its own, answered by whichever machine of a cluster is free.

A shard is answered by `predict_file`, so that its rows are those of one machine, and a worker that dies is followed by
another that goes on behind the last part. Ray Data (Moritz et al. 2018, Ray) hands out the shards as the items of its
dataset; their rows never pass it, so that they keep their order and a shard needs no more memory than a file does.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from eat.checks import as_typed, folder_name, one_line, shown, whole_number
from eat.deployment.prediction.engines import load_engine
from eat.deployment.prediction.journal import check_header
from eat.deployment.prediction.places import INPUTS
from eat.deployment.prediction.run import MESSAGES, Summary, predict_file
from eat.deployment.prediction.settings import PredictSettings
from eat.deployment.prediction.tally import Tally
from eat.files import read_object, write_text
from eat.runs.lock import locked
from eat.tasks.formats import format_suffix

FILE = "shards.json"
"""In the output folder: what decides the answers, and the shards that are answered."""
ATTEMPTS = 4  # at a shard whose workers die; by itself Ray Data would go on for ever with one that always kills them


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file and where its answers go."""

    input: Path
    output: Path
    fresh: bool  # whether an output that is there is replaced


@dataclasses.dataclass(frozen=True)
class _Done:
    """What is noted of a shard that is answered."""

    size: int  # of the input, in bytes
    tally: Tally

    @classmethod
    def from_json(cls, values: Any) -> _Done:
        if not isinstance(values, dict) or sorted(values) != ["size", "tally"]:
            raise ValueError(f"expected size and tally of a shard, got {shown(values)}")
        return cls(whole_number("size", values["size"], at_least=0), Tally.from_json(values["tally"]))


Answered = tuple[Shard, Summary | Exception]
Run = Callable[[Callable[[Shard], Summary], Sequence[Shard]], Iterable[Answered]]
"""Calls a function for each shard, somewhere, and yields what came of each as it ends."""


def predict_shards(
    model: str | Path, input: str | Path, output: str | Path, settings: PredictSettings, run: Run | None = None
) -> Summary:
    """Predict every file of a folder into a file of the same name; the same call goes on with those that are missing.

    Args:
        model: As `predict_file` takes it, at a path that is the same on every machine, as the folders are.
        input: A folder of files that `predict_file` reads; hidden ones are left out.
        output: The folder to write, with `FILE` in it.
        settings: Everything else; ``output_format`` is Parquet where it is None.
        run: Where shards are answered; None for the Ray cluster that ``RAY_ADDRESS`` or this machine names, else one
            that is started here.

    Raises:
        FileNotFoundError: If the model or the folder is missing.
        ImportError: If Ray is not installed.
        RuntimeError: If another process writes there, or shards failed: the others are answered, and the message says
            what is wrong with the first.
        ValueError: If an argument or the model is not as it must be, or the folder was begun with others.
    """
    if settings.guard:
        raise ValueError("guard: expected false with a cluster, where each shard would be a stream of its own")
    folder = Path(folder_name("output", output)).expanduser().absolute()
    layout = settings.output_format or "parquet"
    shards = _shards(Path(folder_name("input", input)).expanduser().absolute(), folder, layout)
    settings = dataclasses.replace(
        settings, output_format=layout, threads=settings.threads or 1, progress=False, cluster=None
    )
    facts = {**settings.deciding(), **load_engine(model, settings).facts, "output": layout}
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=False, needed=True):
        done = _read(folder, facts, settings.fresh)
        _check_same(shards, done)
        waiting = [
            dataclasses.replace(shard, fresh=shard.output.exists())  # there, but not noted: its process died between
            for shard in shards
            if shard.input.name not in done or not shard.output.exists()
        ]
        return _run(str(Path(model).absolute()), folder, waiting, facts, done, settings, run or _with_ray(settings))


def _run(
    model: str,
    folder: Path,
    waiting: Sequence[Shard],
    facts: dict[str, Any],
    done: dict[str, _Done],
    settings: PredictSettings,
    run: Run,
) -> Summary:
    def answer(shard: Shard) -> Summary:
        own = dataclasses.replace(settings, fresh=shard.fresh)
        return predict_file(model, shard.input, shard.output, own)

    failed: list[tuple[Shard, Exception]] = []
    messages: list[str] = []
    for shard, result in run(answer, waiting) if waiting else ():
        if isinstance(result, Exception):
            failed.append((shard, result))
            continue
        messages += [f"{shard.input.name}, {message}" for message in result.unreadable]
        done[shard.input.name] = _Done(shard.input.stat().st_size, result.tally)
        noted = {name: dataclasses.asdict(one) for name, one in done.items()}
        write_text(folder / FILE, json.dumps({"facts": facts, "shards": noted}, indent=1))
    if failed:
        shard, error = failed[0]
        raise RuntimeError(
            f"input: {len(failed)} of {len(waiting)} shards failed, {shard.input.name} with: {one_line(error)}; "
            "the same command goes on with them"
        ) from error
    total = sum((one.tally for one in done.values()), Tally())
    return Summary(total, messages[:MESSAGES], None)


def _shards(source: Path, folder: Path, layout: str) -> list[Shard]:
    """List the files of a folder, by name.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds none, another kind of file, or two that would be answered in one.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"input: expected a folder of shards with a cluster, {source} is none")
    if source == folder:
        raise ValueError(f"output: expected another folder than the input, got {folder}")
    files = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    if not files:
        raise ValueError(f"input: expected a folder of shards, {source} is empty")
    shards: dict[str, Path] = {}
    for path in files:
        suffix = format_suffix(path)
        if not path.is_file() or suffix not in INPUTS:
            raise ValueError(f"input: expected files ending in {', '.join(INPUTS)} in {source}, got {shown(path.name)}")
        name = f"{path.name[: path.name.lower().index(suffix)]}.{layout}"
        if name in shards:
            raise ValueError(f"input: {shards[name].name} and {path.name} would both be answered in {name}; rename one")
        shards[name] = path
    return [Shard(path, folder / name, False) for name, path in shards.items()]


def _read(folder: Path, facts: dict[str, Any], fresh: bool) -> dict[str, _Done]:
    """Return the shards that are answered already, by name.

    Raises:
        ValueError: If the folder was begun with something else, or holds what is not of a prediction.
    """
    path = folder / FILE
    if fresh:
        path.unlink(missing_ok=True)
    if not path.is_file():
        write_text(path, json.dumps({"facts": facts, "shards": {}}, indent=1))
        return {}
    try:
        kept = read_object(path)
        if not isinstance(kept.get("facts"), dict) or not isinstance(kept.get("shards"), dict):
            raise ValueError(f"expected facts and shards, got {shown(kept)}")
        done = {name: _Done.from_json(one) for name, one in kept["shards"].items()}
    except ValueError as error:
        raise ValueError(f"output: {path} is damaged ({error}); fresh=true starts anew") from error
    check_header(folder, kept["facts"], json.loads(json.dumps(facts)))
    return done


def _check_same(shards: Sequence[Shard], done: dict[str, _Done]) -> None:
    """Refuse to go on where a shard is gone or another than the one that was answered."""
    sizes = {shard.input.name: shard.input.stat().st_size for shard in shards}
    for name, one in done.items():
        if sizes.get(name) != one.size:
            raise ValueError(f"input: {as_typed(name)} is not what it was when it was answered; fresh=true starts anew")


def _with_ray(settings: PredictSettings) -> Run:
    """Return what answers shards over Ray Data, each on as many cores as a call has threads."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody unasked
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("Ray Data is not installed: pip install 'eat-transformers[ray]'") from error

    def run(answer: Callable[[Shard], Summary], shards: Sequence[Shard]) -> Iterator[Answered]:
        if not ray.is_initialized():
            ray.init(include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False)
        begun: Any = ray.remote(num_cpus=0)(_Begun).remote()

        def attempt(row: dict[str, Any]) -> dict[str, Any]:
            number = row["item"]
            result: Summary | Exception
            try:
                if ray.get(begun.count.remote(number)) > ATTEMPTS:
                    raise RuntimeError(f"{ATTEMPTS} workers that took it died; Ray's log says of what")
                result = answer(shards[number])
            except Exception as error:
                result = RuntimeError(one_line(error))  # its own class may not go from one process to another
            return {"number": number, "result": ray.cloudpickle.dumps(result)}

        items = ray.data.from_items([*range(len(shards))], override_num_blocks=len(shards))
        gpus = 1 if settings.device.startswith("cuda") else 0
        answers = items.map(attempt, num_cpus=settings.threads or 1, num_gpus=gpus)
        answers.context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plan, and that its bars are off, help nobody here
        for row in answers.iter_rows():
            yield shards[row["number"]], ray.cloudpickle.loads(row["result"])

    return run


class _Begun:
    """How often work on each shard began, kept where no worker's death forgets it."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()

    def count(self, number: int) -> int:
        self.times[number] += 1
        return self.times[number]
