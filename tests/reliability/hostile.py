"""Read random hostile folders with every command: nothing of them may run, and nothing outside the run may change.

    python -m tests.reliability.hostile folders=600
    python -m tests.reliability.hostile folders=1 first=17         # one folder again

Each folder is a run of our own, made hostile in one to three ways. All calls from Python and four of the commands read
it (``readers=all``: all of them), each in a process of its own, under an audit hook, beside files that must stay and a
folder that must stay empty.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.reliability import quiet

quiet.prepare()

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from eat.cli import evaluate, train
from eat.files import CACHE_VARIABLE
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.reliability import forked
from tests.reliability.campaign import RESULTS, Case, Tally, summarise, without_folders, write_summary
from tests.reliability.hostile_folders import ATTACKS, Trap, make_hostile
from tests.reliability.kills import TRAIN, write_texts
from tests.reliability.watch import read_report, snapshot, watched

CPU_SECONDS, SECONDS = 60, 600  # that a command may compute, and wait
COMMANDS = 4  # that read a folder, besides the calls from Python
MEMORY = 12 * 2**30  # of addresses that it may take
Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """Where one folder is tried: the stranger's run, our own folder, and what must stay as it is."""

    root: Path

    @property
    def home(self) -> Path:
        """Working directory of the commands, with a run of our own: they may write here."""
        return self.root / "home"

    @property
    def trap(self) -> Trap:
        """The stranger's folder and what it is after."""
        return Trap(self.root / "stranger", self.root / "canaries", self.root / "victims")


def commands(run: str, own: str) -> dict[str, tuple[Call, bool]]:
    """Return what reads a stranger's run: name -> the call, and whether it finds the training unfinished."""
    data, quality = TRAIN[1:], "evaluation.stages=[quality]"
    model = f"{run}/model"
    return {
        "train resume": (forked.command(train.main, [TRAIN[0], f"resume={run}", quality]), True),
        "train resume, finished": (forked.command(train.main, [TRAIN[0], f"resume={run}", quality]), False),
        "train retrofit": (forked.command(train.main, _retrofit(run, quality)), False),
        "train teacher": (
            forked.command(train.main, [TRAIN[0], *data, quality, "objective=distill", f"objective.teacher={run}"]),
            False,
        ),
        "evaluate": (forked.command(evaluate.main, ["evaluate.py", f"run={run}", "stages=[quality,sweep]"]), False),
        "evaluate, traces anew": (
            forked.command(evaluate.main, ["evaluate.py", f"run={run}", "fresh=true", "stages=[quality]"]),
            False,
        ),
        "evaluate baseline_run": (
            forked.command(evaluate.main, ["evaluate.py", f"run={own}", f"baseline_run={run}", "stages=[quality]"]),
            False,
        ),
        "evaluate certify.runs": (
            forked.command(
                evaluate.main,
                ["evaluate.py", f"run={own}", f"certify.runs=[{run}]", "certify.max_drop=0.3", "stages=[certify]"],
            ),
            False,
        ),
        "from_pretrained": (lambda: AdaptiveForSequenceClassification.from_pretrained(model), False),
        "AutoModel": (lambda: AutoModelForSequenceClassification.from_pretrained(model), False),
        "AutoTokenizer": (lambda: AutoTokenizer.from_pretrained(model), False),
        "pipeline": (lambda: pipeline("text-classification", model=model)("good word1"), False),
        "from_backbone": (lambda: AdaptiveForSequenceClassification.from_backbone(model), False),
    }


def _retrofit(run: str, quality: str) -> list[str]:
    kept = [one for one in TRAIN[1:] if not one.startswith(("backbone", "pruner", "head_depths", "budget"))]
    return [TRAIN[0], *kept, quality, f"retrofit={run}", "budget.epochs=1"]


def make_run(place: Path) -> tuple[Path, str]:
    """Train the run that is made hostile, and warm this process up; return the folder around it, and its name there."""
    home = place / "home"
    write_texts(home)
    quality = "evaluation.stages=[quality]"
    forked.preload(forked.command(train.main, [*TRAIN, "seed=0", quality]), home)
    run = next(home.glob("runs/*/*/config.yaml")).parent
    return home, str(run.relative_to(home))


def set_up(place: Path, home: Path, run: str) -> Sandbox:
    """Lay out a sandbox with fresh victims and a copy of the run as the stranger's."""
    sandbox = Sandbox(place / "sandbox")
    shutil.rmtree(sandbox.root, ignore_errors=True)
    shutil.copytree(home, sandbox.home, symlinks=True)
    shutil.copytree(home / run, sandbox.trap.folder, symlinks=True)
    sandbox.trap.canaries.mkdir()
    (sandbox.trap.victims / "folder" / "inner").mkdir(parents=True)
    (sandbox.trap.victims / "victim.txt").write_text("must stay\n")
    (sandbox.trap.victims / "folder" / "inner" / "file.txt").write_text("must stay\n")
    return sandbox


def attacked(seed: int, sandbox: Sandbox, scratch: Path) -> list[tuple[str, str]]:
    """Make the stranger's folder hostile, in a child, so that this process touches nothing; return what was done."""
    done = forked.ask(lambda: make_hostile(random.Random(seed), sandbox.trap), scratch)
    return [(kind, what) for kind, what in done]


def read_with(name: str, sandbox: Sandbox, run: str, known: set[str], scratch: Path) -> tuple[int, list[str], str]:
    """Run one command on the stranger's folder; return its exit code, what it did wrong, and its last words."""
    stranger = sandbox.trap.folder
    call, unfinished = commands("../stranger", run)[name]
    aside = sandbox.root / "finished"
    if unfinished and (stranger / "model").is_dir():  # else nothing is trained
        (stranger / "model").rename(aside)
    before = snapshot(sandbox.trap.victims), snapshot(sandbox.trap.canaries)
    report, output = scratch / "report.jsonl", scratch / "output.txt"
    report.unlink(missing_ok=True)
    # With another tokenizer texts are encoded anew, and kept in the user's cache under a hash of it.
    writable = [stranger, sandbox.home, Path(os.environ["HF_HOME"]), Path(os.environ[CACHE_VARIABLE]), scratch]
    limited = _limited(watched(call, report, stranger, writable, known))
    code = forked.wait(forked.start(limited, sandbox.home, output), SECONDS)
    faults = read_report(report)
    for path, was in zip((sandbox.trap.victims, sandbox.trap.canaries), before, strict=True):
        now = snapshot(path)
        faults += [f"changed {path.name}/{one}" for one in sorted(set(was) | set(now)) if was.get(one) != now.get(one)]
    if unfinished and aside.is_dir():
        shutil.rmtree(stranger / "model", ignore_errors=True)
        aside.rename(stranger / "model")
    if code < 0:
        too_long = code in (forked.KILLED, -signal.SIGXCPU)
        faults.append("took too long" if too_long else f"died of signal {-code}")
    said = output.read_text(errors="replace").strip().splitlines() if output.is_file() else []
    if any("MemoryError" in line or "can't allocate memory" in line for line in said):
        faults.append("filled the memory")
    return code, faults, said[-1] if said else ""


def _limited(call: Call) -> Call:
    def under_limits() -> Any:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        faulthandler.dump_traceback_later(SECONDS - 5)
        return call()

    return under_limits


def chosen(seed: int, readers: str) -> list[str]:
    """Choose what reads a folder: what is named, "all", or every call from Python and so many of the commands."""
    names = [name for name in commands("", "") if name.startswith(("train", "evaluate"))]
    if readers:
        return list(commands("", "")) if readers == "all" else readers.split(",")
    return [*random.Random(f"commands {seed}").sample(names, COMMANDS), *sorted({*commands("", "")} - {*names})]


def chosen_text(readers: str) -> str:
    """Say how many read a folder."""
    return readers or f"all that are calls from Python and {COMMANDS} of the commands, drawn for each folder,"


def check_folder(case: Case, place: Path, home: Path, run: str, known: dict[str, set[str]], readers: str) -> None:
    """Make one folder hostile and read it, each time as it came."""
    scratch = place / "scratch"
    scratch.mkdir(exist_ok=True)
    done: list[tuple[str, str]] = []
    for name in chosen(case.seed, readers):
        sandbox = set_up(place, home, run)
        done = attacked(case.seed, sandbox, scratch)
        code, faults, said = read_with(name, sandbox, run, known[name], scratch)
        case.count(readings=1, **{"read" if code == 0 else "refused": 1})
        for fault in faults:
            kinds = " and ".join(sorted({kind for kind, _ in done}))
            told = "; ".join(what for _, what in done)
            case.fail(f"{name}: {without_folders(fault)[:80]} ({kinds})", f"{told}; it said: {said}")
    case.count(inputs=1, **{f"with {kind}": 1 for kind in {kind for kind, _ in done}})


def clean_readings(place: Path, home: Path, run: str, names: Iterable[str]) -> dict[str, set[str]]:
    """Read a clean folder with these commands; return what is reported then, which is known from then on."""
    scratch = place / "scratch"
    scratch.mkdir(exist_ok=True)
    known: dict[str, set[str]] = {}
    for name in names:
        sandbox = set_up(place, home, run)
        code, faults, said = read_with(name, sandbox, run, set(), scratch)
        refusal = name in MAY_REFUSE
        if code != 0 and not refusal:
            raise RuntimeError(f"{name}: a clean folder was refused: {said}")
        known[name] = set(faults)
        print(f"{name}: {'read' if code == 0 else 'refused'}{''.join(f', {fault}' for fault in sorted(set(faults)))}")
    return known


MAY_REFUSE = {"from_backbone"}  # which takes Hugging Face's models, not ours


def main(arguments: list[str]) -> int:
    """Run the campaign; return the exit code."""
    options = dict(argument.split("=", 1) for argument in arguments)
    torch.set_num_threads(1)
    first, count = int(options.get("first", 0)), int(options.get("folders", 20))
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="eat-hostile-", dir=options.get("folder")) as name:
        place = Path(name)
        os.environ["TMPDIR"] = tempfile.tempdir = str(place / "scratch")
        (place / "scratch").mkdir()
        os.environ[CACHE_VARIABLE] = str(place / "cache")
        home, run = make_run(place)
        readers = options.get("readers", "")
        known = clean_readings(place, home, run, chosen(first, readers or "all"))
        for seed in range(first, first + count):
            case = Case(seed)
            check_folder(case, place, home, run, known, readers)
            tally.add(case)
    notes = [
        f"An input is one folder, a run of our own made hostile in one to three ways ({', '.join(ATTACKS)}).",
        (
            f"Of these, {chosen_text(readers)} read it, each in a process of its own under an audit hook: "
            f"{', '.join(commands('', ''))}."
        ),
    ]
    tallies = {"folders": tally}
    again = "make hostile FOLDERS=1 FIRST=<seed>"
    write_summary(
        summarise("Hostile folders", tallies, again=again, notes=notes), Path(options.get("out", RESULTS / "hostile"))
    )
    print(dict(sorted(tally.counts.items())))
    for what, failure in tally.failures.items():
        print(f"{failure['cases']} x {what}; seeds {failure['seeds']}: {failure['message']}")
    return int(bool(tally.failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
