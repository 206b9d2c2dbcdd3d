"""A finished run under LoadGen: what is recorded, what is measured again, what is refused, how it is laid out."""

import json
from pathlib import Path
from typing import Any

import pytest

from eat.benchmark.loadgen import LoadGenResult
from eat.cli.loadgen import main
from eat.evaluation import evaluate_run
from eat.evaluation import loadgen as module
from eat.evaluation.loadgen import LoadGenRun, LoadGenRunSettings
from eat.results.loadgen import LOADGEN, record_loadgen, write_loadgen
from tests.test_documented_commands import composed

ENGINES = ["huggingface_sdpa_padded", "eat", "eat_stream", "eat_int8"]


@pytest.fixture(autouse=True)
def _needs_loadgen() -> None:
    pytest.importorskip("mlperf_loadgen", reason="LoadGen is not installed: pip install 'eat-transformers[loadgen]'")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Stand in for LoadGen where it is the record that matters; return what was asked of it."""
    calls: list[tuple[str, str]] = []

    def answer(serving: Any, examples: Any, scenario: str, settings: Any) -> LoadGenResult:
        calls.append((type(serving).__name__, scenario))
        server = scenario == "server"
        tried = tuple({"asked_qps": rate, "valid": rate < 100, "latency_ms_p99": 9.0} for rate in (160.0, 80.0))
        times = {"50": 1.0, "90": 2.0, "99": 9.0}
        return LoadGenResult(
            scenario=scenario,
            valid=True,
            queries_per_s=81.5,
            latency_ms=times,
            server_qps=80.5 if server else None,
            tried=tried if server else (),
            summary=f"{scenario}\n",
        )

    monkeypatch.setattr(module, "run_loadgen", answer)
    return calls


def test_the_command_measures_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "loadgen"
    overrides = [f"run={run}", f"output={folder}", "seconds=0.1", "server_runs=1", f"engines=[{','.join(ENGINES)}]"]
    main(composed("loadgen", *overrides))
    rows = LOADGEN.read(folder / "loadgen.csv")
    scenarios = ("single_stream", "offline", "server")
    assert [(row["contender"], row["scenario"]) for row in rows] == [
        (name, one) for name in ENGINES for one in scenarios
    ]
    by_name = {row["contender"]: row for row in rows}
    assert by_name["eat"]["accuracy"] == by_name["eat_stream"]["accuracy"]
    assert by_name["eat"]["exit"] == by_name["eat_stream"]["exit"] is not None
    assert by_name["huggingface_sdpa_padded"]["exit"] is None
    assert all(row["queries_per_s"] > 0 and row["threads"] == 1 for row in rows)
    assert "Scenario : Server" in (folder / "summaries" / "eat_stream-server.txt").read_text()
    assert "no MLPerf\nresult" in (folder / "loadgen.md").read_text()
    assert {path.suffix for path in folder.iterdir()} == {".json", ".csv", ".md", ".png", ".pdf", ""}
    assert "eat, survivors pooled" in capsys.readouterr().out


def test_a_killed_run_goes_on_and_repeats_nothing(
    run: Path, tmp_path: Path, asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LoadGenRunSettings(engines=["eat", "eat_stream"], scenarios=["offline", "server"])
    measured = LoadGenRun(run, settings)
    stand_in = module.run_loadgen

    def killed(serving: Any, examples: Any, scenario: str, settings: Any) -> LoadGenResult:
        if len(asked) == 3:
            raise KeyboardInterrupt
        return stand_in(serving, examples, scenario, settings)

    monkeypatch.setattr(module, "run_loadgen", killed)
    with pytest.raises(KeyboardInterrupt):
        record_loadgen(measured, tmp_path)
    kept = json.loads((tmp_path / "loadgen.json").read_text())["results"]
    assert {name: list(found) for name, found in kept.items()} == {
        "eat": ["offline", "server"],
        "eat_stream": ["offline"],
    }
    monkeypatch.setattr(module, "run_loadgen", stand_in)
    record_loadgen(measured, tmp_path)
    expected = [("Batches", "offline"), ("Batches", "server"), ("Pooled", "offline"), ("Pooled", "server")]
    assert asked == expected
    record_loadgen(measured, tmp_path)
    assert asked == expected, "all of it is recorded"
    record_loadgen(LoadGenRun(run, LoadGenRunSettings(engines=["huggingface_sdpa_padded"])), tmp_path)
    assert asked == expected + [("Batches", scenario) for scenario in ("single_stream", "offline", "server")]
    assert LOADGEN.read(tmp_path / "loadgen.csv")[0]["contender"] == "huggingface_sdpa_padded", "in their own order"
    record_loadgen(measured, tmp_path, fresh=True)
    assert len(asked) == 11


def test_results_of_other_settings_are_not_mixed(run: Path, tmp_path: Path, asked: list[Any]) -> None:
    settings: dict[str, Any] = {"engines": ["eat"], "scenarios": ["offline"]}
    record_loadgen(LoadGenRun(run, LoadGenRunSettings(**settings)), tmp_path)
    before = (tmp_path / "loadgen.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"^output: .*loadgen\.json holds results with another seconds \(10\.0, now 3\)"
    ):
        record_loadgen(LoadGenRun(run, LoadGenRunSettings(**settings, seconds=3)), tmp_path)
    assert (tmp_path / "loadgen.json").read_bytes() == before and len(asked) == 1


def test_only_a_servers_queries_are_hurried(run: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    patience: list[float | None] = []
    pooled = module.Pooled
    monkeypatch.setattr(module, "Pooled", lambda *given: patience.append(given[2]) or pooled(*given))
    list(LoadGenRun(run, LoadGenRunSettings(engines=["eat_stream"], latency_ms=30.0)).measure())
    assert patience == [None, None, 15.0]


def test_every_engine_serves_where_it_is_certified(run: Path) -> None:
    evaluate_run(run, stages=["certify"], certify={"max_drop": 0.6, "confidence": 0.8})
    contenders = LoadGenRun(
        run, LoadGenRunSettings(engines=["eat", "eat_stream", "huggingface_sdpa_padded"])
    ).contenders
    exit = json.loads((run / "model" / "config.json").read_text())["certificate"]["exit"]
    assert contenders["eat"].about == {"engine": "eat", "exit": exit, "certified": True}
    assert contenders["eat_stream"].about == contenders["eat"].about
    assert contenders["huggingface_sdpa_padded"].about["certified"] is False
    with pytest.raises(ValueError, match=r"^engine: .* has a certificate of eat, which says nothing of eat_int8"):
        LoadGenRun(run, LoadGenRunSettings(engines=["eat_int8"]))


def test_what_cannot_run_is_refused_where_it_is_named_and_noted_else(
    run: Path, tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"^engines: expected some of .*'eat_stream'.*, got 'eat_streams' \(did you"):
        LoadGenRunSettings(engines=["eat_streams"])
    missing = "eat.benchmark.engines.ctranslate2.missing"
    monkeypatch.setattr(missing, lambda *_: "not installed: ctranslate2")
    with pytest.raises(ValueError, match=r"^engines: ctranslate2_int8 cannot run here: not installed: ctranslate2$"):
        LoadGenRun(run, LoadGenRunSettings(engines=["eat", "ctranslate2_int8"]))
    monkeypatch.setattr(module, "CONTENDERS", ("eat", "ctranslate2_int8"))
    record_loadgen(LoadGenRun(run, LoadGenRunSettings(scenarios=["offline"])), tmp_path)
    assert asked == [("Batches", "offline")]
    assert "- left out: ctranslate2_int8: " in (tmp_path / "loadgen.md").read_text()
    with pytest.raises(ValueError, match=r"^split: expected one of .*, got 'dev'"):
        LoadGenRun(run, LoadGenRunSettings(split="dev"))


def test_the_table_says_what_was_not_valid(run: Path, tmp_path: Path, asked: list[Any]) -> None:
    record_loadgen(LoadGenRun(run, LoadGenRunSettings(engines=["eat"])), tmp_path)
    recorded = json.loads((tmp_path / "loadgen.json").read_text())
    (server,) = [row for row in LOADGEN.read(tmp_path / "loadgen.csv") if row["scenario"] == "server"]
    assert (server["server_qps"], server["fails_at_qps"], server["server_runs"]) == (80.5, 160.0, 2)
    for found in recorded["results"]["eat"].values():
        found["valid"] = False
    write_loadgen(recorded, tmp_path)
    line = next(line for line in (tmp_path / "loadgen.md").read_text().splitlines() if line.startswith("| eat"))
    assert [cell.strip() for cell in line.split("|")[4:7]] == ["2.00*", "81.5*", "below 160.0"]
