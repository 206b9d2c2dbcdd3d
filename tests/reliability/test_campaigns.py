"""The campaigns run, small, and see what is wrong; each in a process of its own, as from the Makefile."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.campaign import Case, Tally, markdown, merged, run_case, summarise
from tests.reliability.hostile_folders import Payload
from tests.reliability.refusals import REFUSED, attempt, complaint
from tests.reliability.supervised import run
from tests.reliability.watch import read_report

ROOT = Path(__file__).parents[2]
READERS = "train resume,from_pretrained,pipeline"
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
patient = pytest.mark.timeout(1200)  # a process with all imports, and trainings: minutes where the machine is busy


def campaign(name, out, *arguments):
    """Run a campaign and return its summary; it may find failures, which are no matter of this test."""
    command = [sys.executable, "-m", f"tests.reliability.{name}", f"out={out}", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert ended.returncode in (0, 1) and out.with_suffix(".json").is_file(), ended.stderr[-2000:]
    assert out.with_suffix(".md").read_text().startswith("# ")
    return json.loads(out.with_suffix(".json").read_text())


@posix
@patient
def test_fuzz(tmp_path):
    summary = campaign("fuzz", tmp_path / "fuzz", "cases=4")
    assert all(kind["counts"]["inputs"] > 0 for kind in summary["kinds"].values())
    answers = summary["kinds"]["answers"]
    assert answers["counts"]["compared"] >= 2 * answers["counts"]["inputs"]
    assert not any("sequences" in failure["message"] for failure in answers["failures"].values())


@patient
@pytest.mark.slow
def test_memory():
    command = [sys.executable, "-m", "tests.reliability.memory", "contender=eat", "steps=1"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert said.returncode == 0 and float(said.stdout.split()[-1]) > 100, said.stderr[-2000:]


@posix
@patient
@pytest.mark.slow
def test_kills(tmp_path):
    summary = campaign("kills", tmp_path / "kills", "kills=2", "small=true")
    assert summary["total"]["inputs"] == 2
    assert not any(kind["failures"] for kind in summary["kinds"].values())


@posix
@patient
@pytest.mark.slow
def test_hostile_folders(tmp_path):
    summary = campaign("hostile", tmp_path / "hostile", "folders=1", "first=3", f"readers={READERS}")
    assert summary["total"]["inputs"] == 1
    assert summary["kinds"]["folders"]["counts"]["readings"] == 3


def test_failures_of_a_kind_come_together_with_their_seeds():
    def check(case):
        case.count(inputs=2)
        if case.seed % 2:
            case.fail("odd", f"seed {case.seed} in /some/folder/file.txt")
        elif case.seed == 4:
            raise KeyError("x")

    tally, other = Tally(), Tally()
    for seed in range(6):
        tally.add(run_case(check, seed))
    other.add(run_case(check, 7))
    assert tally.seeds == [[0, 6]] and tally.counts["inputs"] == 12
    assert tally.failures["odd"] == {"cases": 3, "seeds": [1, 3, 5], "message": "seed 1 in file.txt"}
    assert any(what.startswith("KeyError in tests/reliability/test_campaigns.py:check") for what in tally.failures)
    one, two = (summarise("Title", {"kind": t}, again="again") for t in (tally, other))
    both = merged([one, two])
    assert both["total"] == {"inputs": 14} and both["kinds"]["kind"]["failures"]["odd"]["cases"] == 4
    assert "| kind | 14 | 2 | 0 to 5, 7 to 7 |" in markdown(both)
    with pytest.raises(ValueError, match="0 to 5 again"):
        merged([one, one])
    one["kinds"]["kind"]["failures"]["odd"]["mended"] = "by hand."
    both = merged([one | {"commit": "a and b"}, two | {"commit": "c"}])
    assert both["commit"] == "a and b and c"
    assert "seeds 1, 3, 5, 7: odd. seed 1 in file.txt Mended: by hand." in markdown(both)


@posix
def test_a_case_that_kills_its_process_is_counted_and_passed_over():
    def check(case):
        if case.seed == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        case.count(inputs=1)

    tally = run({"deadly": (1.0, check)}, seconds=1)["deadly"]
    assert tally.failures["the process died with code -9"]["seeds"] == [13]
    ((start, end),) = tally.seeds
    assert start == 0 and end > 14 and tally.counts["inputs"] == end - 1


@posix
def test_a_campaign_ends_at_a_number_of_inputs_and_notes_what_it_found(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.reliability.supervised.SAVED_EVERY_S", 0.0)
    noted = tmp_path / "noted"
    check = lambda case: case.count(inputs=3)  # noqa: E731
    tally = run(
        {"kind": (1.0, check)}, 60, inputs=10, note=lambda found: noted.write_text(str(found["kind"].counts["inputs"]))
    )["kind"]
    assert tally.counts["inputs"] == 12 and tally.seeds == [[0, 4]]
    assert noted.read_text() == "12"


def raised(error):
    try:
        raise error
    except Exception as caught:
        return caught


def test_only_clear_refusals_are_clear():
    from eat.checks import number

    assert complaint(raised(KeyError("ratio")), ["ratio"]) == "an error of a class that is no user's"
    assert complaint(raised(UnicodeDecodeError("utf-8", b"x", 0, 1, "ratio")), ["ratio"]) is not None
    assert complaint(raised(ValueError("ratio:\nwrong")), ["ratio"]) == "a message of several lines"
    assert complaint(raised(ValueError("wrong")), ["ratio"]) == "a message that does not name what it is about"
    assert complaint(raised(ValueError("ratio: wrong")), ["ratio"]) == "an error that was not raised here"
    case = Case(0)
    assert attempt(case, lambda: number("ratio", "x"), ["ratio"], "number") is REFUSED
    assert not case.problems
    assert attempt(case, lambda: {}["x"], ["ratio"], "lookup") is REFUSED
    assert case.problems


@posix
def test_the_watch_sees_what_must_not_happen(tmp_path):
    for name in ("home", "stranger/model", "victims"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "stranger/model/evil_module.py").write_text("x = 1\n")
    script = f"""
import os, pickle, runpy
from pathlib import Path
from tests.reliability.supervised import run
from tests.reliability.watch import Watch
place = Path({str(tmp_path)!r})
os.chdir(place / "home")
report = os.open(place / "report", os.O_WRONLY | os.O_CREAT)
Watch(report, place / "stranger", [place / "home"], {{"os.system b'true'"}})
open("inside", "w").close(); os.makedirs("a/b"); Path("inside").unlink(); os.system("true")
open(place / "victims/x", "w").close()
os.symlink(place / "victims/y", "link"); open("link", "w").close()
os.rename(place / "victims/x", "gone")
runpy.run_path(str(place / "stranger/model/evil_module.py"))
pickle.loads({__import__("pickle").dumps(Payload(os.system, "true"))!r})
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    seen = read_report(tmp_path / "report")
    assert [line.split()[0] for line in seen] == ["wrote", "wrote", "os.rename", "ran", "unpickled"], seen


def test_draws_follow_from_the_seed():
    draws = [[Case(seed).random.random(), random.Random(seed).random()] for seed in (3, 3)]
    assert draws[0] == draws[1] and draws[0][0] == draws[0][1]
