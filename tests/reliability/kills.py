"""Kill trainings, evaluations and multiruns at random moments, go on until they end, and compare with unkilled ones.

    python -m tests.reliability.kills kills=1000
    python -m tests.reliability.kills kills=20 first=7         # from another job on

A job is killed at moments drawn over its whole length, again and again, by SIGKILL; the same command continues it.
At its end every file must hold what an unkilled job's holds: byte for byte, checkpoints the same tensors, traces the
same rows. Which
moment a seed hits depends on the machine, so a seed repeats a campaign's draws, not its every instant.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability import quiet

quiet.prepare()

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from eat.cli import evaluate, train
from eat.runs import environment
from tests.reliability import forked
from tests.reliability.campaign import RESULTS, Case, Tally, summarise, without_folders, write_summary

TASK = ("task=file", "data.train=train.csv", "data.cache_dir=cache", "data.max_length=32", "data.batch_size=8")
SMALL = ("trainer=cpu", "data.threshold_examples=20", "data.certification_examples=20", "trainer.threads=1")
TINY = ("backbone=tiny", "backbone.dim=16", "backbone.num_layers=3", "backbone.intermediate_size=32")
MORE = ("backbone.vocab_size=200", "pruner.depths=[1]", "head_depths=[2]", "optimizer.lr=1e-2", "budget.epochs=2")
TRAIN = ("train.py", *TASK, *SMALL, *TINY, *MORE, "callbacks.checkpoints.every_n_steps=2")
VARIANTS = {
    "train": ("evaluation.stages=[quality]",),
    "train, two stages": ("objective=two_stage", "evaluation.stages=[quality]"),
    "train, alternating": ("objective=alternating", "evaluation.stages=[quality]"),
    "train, accumulated": ("trainer.accumulate_grad_batches=2", "evaluation.stages=[quality]"),
    "train, validating within epochs": ("trainer.val_check_interval=0.5", "evaluation.stages=[quality,sweep]"),
}
EVALUATE = ("evaluate.py", "stages=[calibrate,quality,sweep,certify]", "certify.max_drop=0.3", "fresh=true")
MULTIRUN = ("evaluation.stages=[quality]", "seed=1,2", "hydra.sweep.dir=sweep")
MOST = 4  # kills of one job, then it may end: what is done stays done, so later kills all hit its last part
LONGEST = 900.0  # seconds after which a job that may end is taken not to
SHARES = {"train": 0.5, "evaluate": 0.25, "multirun": 0.25}
NOT_COMPARED = {".lock", "multirun.yaml", "job.json"}  # the last one names the bytes of what is compared


@dataclasses.dataclass
class Job:
    """What is run, and the folder of an unkilled run of it."""

    kind: str
    call: Callable[[], Any]
    start: Path  # what lies in its folder before
    unkilled: Path
    seconds: float = 0.0  # that it takes


def write_texts(folder: Path) -> None:
    """Write 100 sentences in which one word decides."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    words = {"good": 1, "fine": 1, "great": 1, "bad": 0, "poor": 0, "dull": 0}
    lines = ["text,label"]
    for number in range(100):
        word = draw.choice(list(words))
        others = [f"word{draw.randrange(40)}" for _ in range(draw.randrange(3, 12))]
        lines.append(f"{' '.join([*others, word])} number{number},{'good' if words[word] else 'bad'}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")


def make_jobs(place: Path, small: bool = False) -> dict[str, list[Job]]:
    """Run every job, or where it is to be small the first alone, without a kill, and measure how long it takes."""
    empty = place / "empty"
    write_texts(empty)
    forked.preload(
        forked.command(train.main, [*TRAIN, "seed=9", "evaluation.stages=[quality]"]), _copy(empty, place / "w")
    )
    jobs: dict[str, list[Job]] = {"train": []}
    for number, (kind, options) in enumerate(VARIANTS.items()):
        call = forked.command(train.main, [*TRAIN, *options])
        jobs["train"].append(_unkilled(Job(kind, call, empty, place / f"train-{number}")))
        if small:
            return jobs
    call = forked.command(train.main, [TRAIN[0], "--multirun", *TRAIN[1:], *MULTIRUN])
    jobs["multirun"] = [_unkilled(Job("multirun", call, empty, place / "multirun"))]
    trained = jobs["train"][0].unkilled
    run = next(trained.glob("runs/*/*/config.yaml")).parent.relative_to(trained)
    call = forked.command(evaluate.main, [EVALUATE[0], f"run={run}", *EVALUATE[1:]])
    jobs["evaluate"] = [_unkilled(Job("evaluate", call, trained, place / "evaluate"))]
    return jobs


def _unkilled(job: Job) -> Job:
    _copy(job.start, job.unkilled)
    seconds = []
    for _ in range(2):
        folder = _copy(job.start, job.unkilled)
        began = time.monotonic()
        code = forked.wait(forked.start(job.call, folder, folder.with_suffix(".txt")), None)
        seconds.append(time.monotonic() - began)
        if code != 0:
            raise RuntimeError(f"{job.kind}: an unkilled job ended with {code}: {_said(folder)}")
    job.seconds = min(seconds)
    return job


def _copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _said(folder: Path) -> str:
    text = folder.with_suffix(".txt").read_text(errors="replace").strip()
    return without_folders(" / ".join(text.splitlines()[-3:]))[-400:]


def kill_until_it_ends(job: Job, case: Case, place: Path, most: int) -> int:
    """Run one job with kills, at most so many, and compare what it leaves; return how often it was killed."""
    folder = _copy(job.start, place / f"killed-{job.kind.partition(',')[0]}-{case.seed}")
    kills, most = 0, min(most, case.random.randint(1, MOST))
    while True:
        may_end = kills >= most
        delay = LONGEST if may_end else case.random.uniform(0, job.seconds)
        began = time.monotonic()
        code = forked.wait(forked.start(job.call, folder, folder.with_suffix(".txt")), delay)
        if code != forked.KILLED or may_end:
            if not kills:  # the machine is less busy than when the job was measured
                job.seconds = min(job.seconds, time.monotonic() - began)
            break
        kills += 1
        case.count(inputs=1, **{f"killed {reached(folder)}": 1})
    if code != 0:
        case.fail(f"{job.kind}: a resumed job ended with code {code}", _said(folder))
        return kills
    for name in forked.ask(lambda: differences(folder, job.unkilled), place):
        case.fail(f"{job.kind}: {name} differs from an unkilled job's", f"after {kills} kills")
    left = sum(1 for path in folder.rglob("*.partial"))
    case.count(
        jobs=1, **{f"jobs, {job.kind}": 1}, half_written_files_left=left, **forked.ask(lambda: rows(folder), place)
    )
    if not case.problems:
        shutil.rmtree(folder)
    return kills


def rows(folder: Path) -> dict[str, int]:
    """Count the rows that were compared: of metrics and of traces."""
    metrics = sum(len(path.read_text().splitlines()) - 1 for path in folder.glob("runs/*/*/metrics.csv"))
    traces = sum(pq.read_metadata(path).num_rows for path in folder.glob("runs/*/*/trace/*.parquet"))
    return {"rows of metrics": metrics, "rows of traces": traces}


def reached(folder: Path) -> str:
    """Say how far a job is, by what lies in the folder of the last run that it started."""
    runs = sorted(folder.glob("runs/*/*/"), key=lambda path: path.stat().st_mtime)
    signs = {"report/summary.md": "after the report", "trace": "while reporting", "model": "while tracing"}
    signs |= {"checkpoints/last.ckpt": "between checkpoints", "config.yaml": "before a checkpoint"}
    found = (words for sign, words in signs.items() if runs and (runs[-1] / sign).exists())
    return next(found, "before the configuration")


def differences(one: Path, other: Path) -> list[str]:
    """Return the files that differ, caches and locks left out; checkpoints are compared by what they hold."""
    found = [_files(one), _files(other)]
    names = sorted(set(found[0]) ^ set(found[1]))
    return names + [name for name in sorted(set(found[0]) & set(found[1])) if not _same(one, other, name)]


def _files(folder: Path) -> list[str]:
    paths = (path for part in ("runs", "sweep") for path in (folder / part).rglob("*") if path.is_file())
    return [
        str(path.relative_to(folder)) for path in paths if path.name not in NOT_COMPARED and path.suffix != ".partial"
    ]


def _same(first: Path, second: Path, name: str) -> bool:
    """Compare a file of two places, which it may name: a configuration names its data by their whole path."""
    one, other = first / name, second / name
    if one.suffix == ".parquet":
        return _trace(one) == _trace(other)
    if one.suffix != ".ckpt":
        texts = [
            path.read_bytes().replace(str(place.resolve()).encode(), b"")
            for path, place in ((one, first), (other, second))
        ]
        return texts[0] == texts[1]
    left, right = (torch.load(path, weights_only=True) for path in (one, other))
    keys = [key for key in ("state_dict", "optimizer_states", "global_step", "lr_schedulers") if key in left]
    return all(_equal(left[key], right.get(key)) for key in keys)


def _trace(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Return a trace's rows, and what it says of itself; less the exit, which a certificate stored before changes."""
    table = pq.ParquetFile(path).read(use_threads=False)
    facts = json.loads(table.schema.metadata[b"eat"])
    for key in ("exit", "certificate"):
        facts["metadata"]["config"].pop(key, None)
    return table.replace_schema_metadata(None), facts


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def run(kills: int, first: int, place: Path, small: bool = False) -> dict[str, Tally]:
    """Kill so many times, spread over all kinds of jobs."""
    jobs = make_jobs(place, small)
    print(*(f"{job.kind}: {job.seconds:.1f} s unkilled" for several in jobs.values() for job in several), sep="\n")
    tallies = {kind: Tally() for kind in jobs}
    done: Counter[str] = Counter()
    seeds = dict.fromkeys(jobs, first)
    while sum(done.values()) < kills:
        kind = min(jobs, key=lambda kind: done[kind] / SHARES[kind])
        case = Case(seeds[kind])
        job = jobs[kind][case.seed % len(jobs[kind])]
        done[kind] += kill_until_it_ends(job, case, place, kills - sum(done.values()))
        tallies[kind].add(case)
        seeds[kind] += 1
    return tallies


def main(arguments: list[str]) -> int:
    """Run the campaign; return the exit code."""
    options = dict(argument.split("=", 1) for argument in arguments)
    torch.set_num_threads(1)
    environment.commit = lambda: "the same"  # whatever is edited meanwhile
    with tempfile.TemporaryDirectory(prefix="eat-kills-", dir=options.get("folder")) as place:
        tallies = run(
            int(options.get("kills", 100)), int(options.get("first", 0)), Path(place), options.get("small") == "true"
        )
    notes = [
        (
            "An input is one SIGKILL. A job (a training, an evaluation, or a multirun of two trainings) is killed at "
            "moments drawn over its whole length, up to four times, and continued by the same command until it ends."
        ),
        (
            "Then every file of its run folders and of its sweep must be an unkilled job's: byte for byte, checkpoints "
            "by the tensors they hold, traces by their rows and what they say of their model."
        ),
    ]
    summary = summarise("Kills", tallies, again="make kills KILLS=20 FIRST=<seed>", notes=notes)
    write_summary(summary, Path(options.get("out", RESULTS / "kills")))
    for kind, tally in tallies.items():
        print(f"{kind}: {dict(sorted(tally.counts.items()))}")
        for what, failure in tally.failures.items():
            print(f"  {failure['cases']} x {what}; seeds {failure['seeds']}: {failure['message']}")
    return int(any(tally.failures for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
