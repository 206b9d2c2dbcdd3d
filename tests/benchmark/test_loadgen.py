"""LoadGen's scenarios over calls of known speed, over a model beside Hugging Face's, and over the survivor pool."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch

from eat.benchmark.engines import ENGINES, PADDED, Source
from eat.benchmark.engines.packed import packed_call
from eat.benchmark.loadgen import (
    FEWEST,
    SCENARIOS,
    Batches,
    LoadGenResult,
    LoadGenSettings,
    Pooled,
    Serving,
    run_loadgen,
    search_rate,
)
from tests.made.models import make_model

EXAMPLES = [{"input_ids": [2, *range(5, 5 + length), 4], "token_type_ids": [0] * (length + 2)} for length in range(12)]


def needs_loadgen() -> None:
    pytest.importorskip("mlperf_loadgen", reason="LoadGen is not installed: pip install 'eat-transformers[loadgen]'")


SERVINGS: dict[str, Callable[[], Serving]] = {
    "hugging_face": lambda: Batches(ENGINES[PADDED].call(Source(make_model(torch.float32))), 4),
    "eat": lambda: Batches(packed_call(make_model(torch.float32)), 4),
    "pooled": lambda: Pooled(early(), 4),
    "hurried": lambda: Pooled(early(), 4, patience_ms=0.0),
}


def early() -> Any:
    """Return a model in which half of the examples leave at the first head."""
    model = make_model(torch.float32)
    model.set_exit(name="confidence", threshold=0.0)
    first = torch.stack([one.logits for one in model.predict_stream(EXAMPLES)])
    model.set_exit(name="confidence", threshold=first.softmax(1).amax(1).quantile(0.5).item())
    return model


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("serving", SERVINGS)
def test_every_serving_runs_through_every_scenario(serving: str, scenario: str) -> None:
    needs_loadgen()
    settings = LoadGenSettings(seconds=0.2, latency_ms=1000.0, server_runs=1)
    result = run_loadgen(SERVINGS[serving](), EXAMPLES, scenario, settings)
    assert result.scenario == scenario and result.queries_per_s > 0
    assert 0 < result.latency_ms["50"] <= result.latency_ms["90"] <= result.latency_ms["99"]
    assert f"Scenario : {SCENARIOS[scenario]}" in result.summary
    assert (result.server_qps is not None, len(result.tried)) == ((True, 1) if scenario == "server" else (False, 0))


def test_what_waits_shares_a_call_and_a_server_that_is_too_slow_is_never_valid() -> None:
    needs_loadgen()
    sizes: list[int] = []

    def slow(batch: Any) -> None:
        assert torch.is_inference_mode_enabled()
        sizes.append(len(batch))
        time.sleep(0.01)

    settings = LoadGenSettings(seconds=1.0, latency_ms=1.0, server_runs=3)
    server = run_loadgen(Batches(slow, 8), EXAMPLES, "server", settings)
    assert not server.valid and server.latency_ms["50"] >= 10
    rates = [one["asked_qps"] for one in server.tried]
    assert rates[-1] == FEWEST and len(rates) <= 3, (
        "the lowest that LoadGen can find valid in that time, and no further"
    )
    assert max(sizes) <= 8 and sizes.count(8) > 5, "queries that came in meanwhile share a call"
    sizes.clear()
    alone = run_loadgen(Batches(slow, 8), EXAMPLES, "single_stream", LoadGenSettings(seconds=0.2))
    warm_up = 4 + 4
    assert set(sizes[warm_up:]) == {1} and alone.latency_ms["50"] >= 10


def test_the_highest_valid_rate_is_one_that_a_server_of_known_speed_can_meet() -> None:
    """A call of up to eight texts takes 2 ms: at most 4,000 texts a second.

    What comes faster queues. A run of half a second bears as many as are answered within the 200 ms that 99 % may
    take: (1 + 0.2 / 0.5) times 4,000 a second and a little; how far below a machine stays depends on its load.
    """
    needs_loadgen()
    settings = LoadGenSettings(seconds=0.5, latency_ms=200.0, server_runs=4)
    result = run_loadgen(Batches(lambda batch: time.sleep(0.002), 8), EXAMPLES, "server", settings)
    valid = [one["asked_qps"] for one in result.tried if one["valid"]]
    assert len(result.tried) == 4 and result.valid == bool(valid)
    assert all(FEWEST <= rate < 4000 * (1 + 0.2 / 0.5) * 1.05 for rate in valid)
    if valid:  # LoadGen draws arrivals at random, so that what it scheduled is near what was asked
        assert result.server_qps == pytest.approx(max(valid), rel=0.2)


@pytest.mark.parametrize("capacity", [70.0, 100.0, 333.0, 5000.0])
def test_the_search_comes_close_to_the_capacity_from_below(capacity: float) -> None:
    asked: list[float] = []

    def run(rate: float) -> LoadGenResult:
        asked.append(rate)
        times = dict.fromkeys(("50", "90", "99"), 1.0)
        valid = rate <= capacity
        return LoadGenResult(scenario="server", valid=valid, queries_per_s=rate, latency_ms=times, server_qps=rate)

    found = search_rate(run, start=400.0, lowest=50.0, most_runs=12)
    assert found.valid and 0.9 * capacity < found.queries_per_s <= capacity
    assert [one["asked_qps"] for one in found.tried] == asked and len(asked) == 12
    asked.clear()
    capacity = 49.0
    found = search_rate(run, start=400.0, lowest=50.0, most_runs=12)
    assert not found.valid and asked == [400.0, 200.0, 100.0, 50.0]


def test_the_pool_answers_as_the_model_does_alone_and_lets_answers_leave_early() -> None:
    model = early()
    serving, left, order = Pooled(model, 4), deque(enumerate(EXAMPLES * 3)), []
    answers: dict[int, Any] = {}
    step = serving.pools.step

    def recorded(**how: Any) -> Any:
        found = step(**how)
        answers.update(found)
        return found

    serving.pools.step = recorded  # type: ignore[method-assign]
    while left or serving.busy:
        order += serving.answer(dict(left.popleft() for _ in range(min(3, len(left)))))
    assert sorted(order) == list(range(36)) and order != sorted(order)
    assert serving.room == serving.pools.max_in_flight
    call = packed_call(model)
    for number, prediction in answers.items():
        with torch.inference_mode():
            expected = torch.from_numpy(call([(EXAMPLES * 3)[number]])[0])
        torch.testing.assert_close(prediction.logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("patience_ms", "hurried"), [(None, False), (1e6, False), (0.0, True)])
def test_what_waited_too_long_goes_first(patience_ms: float | None, hurried: bool) -> None:
    serving, asked = Pooled(early(), 4, patience_ms), []
    step = serving.pools.step

    def recorded(*, oldest_first: bool) -> Any:
        asked.append(oldest_first)
        return step(oldest_first=oldest_first)

    serving.pools.step = recorded  # type: ignore[method-assign]
    serving.answer(dict(enumerate(EXAMPLES)))
    time.sleep(0.001)
    serving.answer({12: EXAMPLES[0]})
    assert asked[1] == hurried


@pytest.mark.parametrize("pooled", [False, True])
def test_a_call_that_fails_ends_the_run_with_its_error(pooled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_loadgen()
    model, times = early(), []
    call = packed_call(model)
    advance = model.encoder.advance

    def breaking(*args: Any, **more: Any) -> Any:
        times.append(1)
        if len(times) > 50:
            raise RuntimeError("out of memory")
        return advance(*args, **more)

    monkeypatch.setattr(model.encoder, "advance", breaking)
    before = threading.active_count()
    serving = Pooled(model, 4) if pooled else Batches(call, 4)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_loadgen(serving, EXAMPLES, "offline", LoadGenSettings(seconds=0.5))
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
        ({"server_runs": 0}, r"server_runs: expected an integer of 1 or more, got 0"),
        ({"latency_ms": -1.0}, r"latency_ms: expected a number above 0"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoadGenSettings(**settings)


def test_without_loadgen_or_anything_to_run_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Batches(lambda batch: None, 4)
    with pytest.raises(ValueError, match=r"examples: expected one or more, got none"):
        run_loadgen(serving, [], "offline")
    with pytest.raises(ValueError, match=r"scenario: expected some of .*, got 'multi'"):
        run_loadgen(serving, EXAMPLES, "multi")
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(ImportError, match=r"LoadGen is not installed: pip install 'eat-transformers\[loadgen\]'"):
        run_loadgen(serving, EXAMPLES, "offline")
