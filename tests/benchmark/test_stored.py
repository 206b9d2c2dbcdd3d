"""Broken and foreign results in a run folder: one line that names the file, what is wrong, and what to do."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eat.benchmark.contenders import PADDED
from eat.benchmark.latency.planned import Plan, read_plan
from eat.benchmark.results import Benchmark, read_benchmark

RESULTS = Path(__file__).parents[2] / "results"
FILES: dict[str, tuple[Path, Callable[[Path, str], Benchmark | Plan | None]]] = {
    "benchmark": (min(RESULTS.glob("sst2/*/report/benchmark.json")), read_benchmark),
    "plan": (min(RESULTS.glob("sst2/*/report/plan.json")), read_plan),
}
# Outside of the type checks that run beside tests, as users meet it: folders come in, messages go out.
READ = """
import json, sys
from pathlib import Path
from eat.benchmark.latency.planned import read_plan
from eat.benchmark.results import read_benchmark
for name, fingerprint, folder in json.load(sys.stdin):
    try:
        {"benchmark": read_benchmark, "plan": read_plan}[name](Path(folder), fingerprint)
        print(json.dumps("it was read"))
    except ValueError as error:
        print(json.dumps(str(error)))
"""
every_file = pytest.mark.parametrize("name", FILES)


def refused(folder: Path, cases: list[tuple[str, str | bytes]]) -> list[str]:
    """Return the messages that files of these names and contents are refused with."""
    asked = []
    for number, (name, content) in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        (place / f"{name}.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        asked.append((name, json.loads(FILES[name][0].read_text())["fingerprint"], str(place)))
    environment = os.environ | {"PYTHONPATH": str(RESULTS.parent)}
    process = [sys.executable, "-c", READ]
    done = subprocess.run(process, input=json.dumps(asked), capture_output=True, text=True, check=True, env=environment)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(messages) == len(cases)
    for (name, _, place), said in zip(asked, messages, strict=True):
        assert said.startswith(f"{place}/{name}.json is damaged or foreign (")
        assert said.endswith(f"); delete it and run stages=[{name}] again")
        assert "\n" not in said
    return messages


Cases = list[tuple[str, str | bytes]]


def no_results() -> Cases:
    contents = ["", "{", "[]", "3", "null", "{}", '"text"', b"\xff\xfe", "[" * 100_000]
    return [(name, content) for name in FILES for content in contents]


def without_a_key() -> tuple[Cases, list[str]]:
    """Return files that each lack a key, and which."""
    optional = {"run", "memory", "not_measured", "shortcuts"}  # missing in older files, or for people
    missing: Cases = []
    keys = []
    for name, (path, _) in FILES.items():
        values = json.loads(path.read_text())
        for key in values.keys() - optional:
            keys.append(key)
            missing.append((name, json.dumps({k: v for k, v in values.items() if k != key})))
    return missing, keys


def of_other_types() -> Cases:
    return [
        (name, json.dumps(values | {key: 3 if key == "fingerprint" else [0.5]}))
        for name, (path, _) in FILES.items()
        for values in [json.loads(path.read_text())]
        for key in values.keys() - {"run"}
    ]


CHANGES: dict[str, tuple[str, tuple[Any, ...], Any, str]] = {
    "time": (
        "benchmark",
        ("measurements", 0, "latency_ms"),
        [1.0, "2"],
        r"\[0\].latency_ms: expected tuple",
    ),
    "text for a number": (
        "benchmark",
        ("measurements", 1, "examples_per_s"),
        "9",
        "examples_per_s: expected float",
    ),
    "flag for a number": ("benchmark", ("measurements", 1, "threads"), True, "threads: expected int, got True"),
    "no baseline": (
        "benchmark",
        ("measurements", 0, "speedup"),
        {PADDED: [1, 1, 1]},
        "none of the name 'eat_all_off'",
    ),
    "engine": ("benchmark", ("measurements", 0, "engine"), "tvm", "engine: expected one of"),
    "batch size": ("benchmark", ("measurements", 0, "batch_size"), 0, "batch_size: expected an integer of 1 or more"),
    "exit": ("benchmark", ("measurements", 0, "exit"), {"name": "guess"}, "guess"),
    "nothing measured": ("benchmark", ("measurements",), [], "measurements: expected at least one"),
    "unknown key": ("benchmark", ("measurements", 0, "speed"), 1, "unexpected keyword argument 'speed'"),
    "no device": ("benchmark", ("environment",), {"dtype": "float32"}, "got none of the name 'device'"),
    "kind of work": ("plan", ("calibration", "microseconds"), {}, "calibration.microseconds: expected the keys"),
    "interval": ("plan", ("quality",), {"x": {"value": 1.0}}, "missing 3 required positional arguments"),
    "speed-up": ("plan", ("measured", "speedup"), {}, "measured.speedup: expected the keys"),
    "candidates": (
        "plan",
        ("candidates", 0, "latency_ms"),
        None,
        r"candidates\[0\].*latency_ms: expected float",
    ),
}


def with_changes() -> Cases:
    cases: Cases = []
    for name, place, value, _ in CHANGES.values():
        values = json.loads(FILES[name][0].read_text())
        inner = values
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        cases.append((name, json.dumps(values)))
    return cases


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each kind of file is refused with; one process reads them all."""
    kinds = {"none": no_results(), "key": without_a_key()[0], "type": of_other_types(), "change": with_changes()}
    said = iter(refused(tmp_path_factory.mktemp("stored"), [case for cases in kinds.values() for case in cases]))
    return {kind: [next(said) for _ in cases] for kind, cases in kinds.items()}


@pytest.mark.parametrize("kind", ["none", "key", "type", "change"])
def test_what_is_no_result_is_refused_in_a_line(kind: str, messages: dict[str, list[str]]) -> None:
    assert messages[kind]
    assert all("is damaged or foreign (" in said and said.endswith(" again") for said in messages[kind])
    assert not any("\n" in said for said in messages[kind])


def test_a_key_that_is_missing_is_named(messages: dict[str, list[str]]) -> None:
    for key, said in zip(without_a_key()[1], messages["key"], strict=True):
        assert f"no '{key}'" in said


def test_what_is_wrong_is_named(messages: dict[str, list[str]]) -> None:
    for message, (_, _, _, said) in zip(messages["change"], CHANGES.values(), strict=True):
        assert re.search(said, message), message


@every_file
def test_another_models_file_is_left_out_whatever_it_holds(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"{name}.json").write_text('{"fingerprint": "of others", "format": 99}')
    assert FILES[name][1](tmp_path, "ours") is None
    assert "other weights and is left out" in caplog.text


@every_file
def test_committed_ones_are_read(name: str) -> None:
    path, read = FILES[name]
    assert read(path.parent, json.loads(path.read_text())["fingerprint"]) is not None
