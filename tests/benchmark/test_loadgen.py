"""LoadGen's scenarios over calls of known speed, and over a model beside Hugging Face's."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from eat.benchmark.engines import ENGINES, PADDED, Source
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.loadgen import SUMMARY, LoadGenSettings, loadgen_markdown, run_loadgen
from tests.made.models import make_model

EXAMPLES = [{"input_ids": [2, *range(5, 5 + length), 4], "token_type_ids": [0] * (length + 2)} for length in range(12)]


def needs_loadgen() -> None:
    pytest.importorskip("mlperf_loadgen", reason="LoadGen is not installed: pip install 'eat-transformers[loadgen]'")


def test_a_model_and_hugging_faces_run_through_every_scenario(tmp_path: Path) -> None:
    needs_loadgen()
    model = make_model(torch.float32)
    calls = {"Hugging Face": ENGINES[PADDED].call(Source(model)), "eat": packed_call(model)}
    settings = LoadGenSettings(seconds=0.2, server_qps=[20.0, 40.0], batch_size=4)
    results = run_loadgen(calls, EXAMPLES, settings, logs=tmp_path)
    assert [(one.scenario, one.server_qps, one.contender) for one in results] == [
        (scenario, rate, name)
        for scenario, rate in (("single_stream", None), ("offline", None), ("server", 20.0), ("server", 40.0))
        for name in calls
    ]
    for one in results:
        assert one.queries_per_s > 0 and 0 < one.latency_ms["50"] <= one.latency_ms["90"] <= one.latency_ms["99"]
    assert len(list(tmp_path.glob(f"*/{SUMMARY}"))) == len(results)
    text = loadgen_markdown(results)
    assert text.startswith("## LoadGen, our model and data\n")
    assert text.count("| eat |") == 4 and "| server | eat | 40 |" in text


def test_what_waits_shares_a_call_and_a_slow_server_is_invalid() -> None:
    needs_loadgen()
    sizes: list[int] = []

    def slow(batch: Any) -> None:
        assert torch.is_inference_mode_enabled()
        sizes.append(len(batch))
        time.sleep(0.02)

    (server,) = run_loadgen(
        {"slow": slow},
        EXAMPLES,
        LoadGenSettings(["server"], seconds=0.3, server_qps=[400.0], latency_ms=1.0, batch_size=8),
    )
    assert not server.valid and server.latency_ms["50"] >= 20
    assert max(sizes) <= 8 and sum(sizes[4:]) > len(sizes[4:]), "queries that came in meanwhile share a call"
    sizes.clear()
    (alone,) = run_loadgen({"slow": slow}, EXAMPLES, LoadGenSettings(["single_stream"], seconds=0.2, batch_size=8))
    assert set(sizes[4:]) == {1} and alone.latency_ms["50"] >= 20


def test_a_call_that_fails_ends_the_run_with_its_error() -> None:
    needs_loadgen()
    times: list[int] = []

    def broken(batch: Any) -> None:
        times.append(1)
        if len(times) > 6:
            raise RuntimeError("out of memory")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"):
        run_loadgen({"x": broken}, EXAMPLES, LoadGenSettings(["single_stream"], seconds=0.1))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"scenarios": ["multi"]},
            r"scenarios: expected some of \['single_stream', 'offline', 'server'\], got 'multi'",
        ),
        ({"seconds": 0.0}, r"seconds: expected a number above 0"),
        ({"batch_size": 0}, r"batch_size: expected an integer of 1 or more, got 0"),
        ({"server_qps": [0.0]}, r"server_qps: expected a number above 0"),
        ({"latency_ms": -1.0}, r"latency_ms: expected a number above 0"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoadGenSettings(**settings)


def test_without_loadgen_or_anything_to_run_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"calls, examples: expected one or more of each, got 0 and 12"):
        run_loadgen({}, EXAMPLES)
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(ImportError, match=r"LoadGen is not installed: pip install 'eat-transformers\[loadgen\]'"):
        run_loadgen({"x": lambda batch: None}, EXAMPLES)
