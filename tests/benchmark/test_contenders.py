"""All contenders answer the same question: same weights, same logits, whatever the batch."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DataCollatorWithPadding

from eat.benchmark.contenders import ALL_OFF, PADDED, build_contenders
from eat.benchmark.engines import ENGINES, Saved, Source
from eat.benchmark.engines.hugging_face import padded
from eat.benchmark.engines.packed import packed_call, with_torchs_product
from eat.benchmark.memory import Peak
from eat.benchmark.results import Benchmark, read_benchmark
from eat.benchmark.run import BenchmarkSettings, draw_examples, measurable, measure_memory, run_benchmark
from eat.benchmark.tokenizing import Texts
from eat.data.tokenizer import train_tokenizer
from eat.exits.points import FULL_DEPTH, OperatingPoint
from eat.models.sharing import all_off, sharing_copy
from tests.made.models import make_model

GROUPED, ONNX_FP32 = "huggingface_sdpa_grouped", "onnxruntime_fp32"
EXPORTED = [name for name, engine in ENGINES.items() if engine.exported]
HALF = ("huggingface_bf16", "eat_bf16")
OTHERS = [*EXPORTED, "eat_int8", *HALF]
RESULTS = Path(__file__).parents[2] / "results"
QUICK: dict[str, Any] = {"warmup": 0, "threads": (1,), "onnx": False, "memory": False}
EXITS = [FULL_DEPTH, OperatingPoint.of({"name": "confidence", "threshold": 0.7})]


@pytest.fixture(scope="module")
def examples() -> list[dict[str, list[int]]]:
    generator = np.random.default_rng(0)
    return [{"input_ids": generator.integers(5, 128, size=n).tolist()} for n in generator.integers(3, 25, size=12)]


def test_baselines_answer_alike(examples: list[dict[str, list[int]]]) -> None:
    contenders = {c.name: c.call for c in build_contenders(Source(make_model(torch.float32)), EXITS)}
    with torch.inference_mode():
        answers = {name: contenders[name](examples) for name in (PADDED, GROUPED, ALL_OFF)}
    np.testing.assert_allclose(answers[ALL_OFF], answers[PADDED], atol=1e-4)
    np.testing.assert_allclose(answers[GROUPED], answers[PADDED], atol=1e-6)


def test_torchs_product_is_used_inside_the_call_alone() -> None:
    seen = []

    def call(batch: list[Any]) -> None:
        seen.append(torch.backends.mkldnn.enabled)
        if not batch:
            raise ValueError("nothing to answer")

    with_torchs_product(call)([{"input_ids": [5]}])
    with pytest.raises(ValueError, match="nothing"):
        with_torchs_product(call)([])
    assert seen == [False, False]
    assert torch.backends.mkldnn.enabled is True


def test_contenders_leave_the_model_alone_and_share_its_weights() -> None:
    model = make_model(torch.float32)
    before = model.config.to_dict()
    twin = all_off(model)
    assert model.config.to_dict() == before
    assert (twin.config.attention, twin.config.pruner, twin.config.exit) == (
        {"name": "full"},
        {"name": "none"},
        {"name": "never"},
    )
    pairs = zip(model.parameters(), sharing_copy(model).parameters(), strict=True)
    assert all(ours.data_ptr() == theirs.data_ptr() for ours, theirs in pairs)


def test_operating_points_are_the_models(examples: list[dict[str, list[int]]]) -> None:
    model = make_model(torch.float32)
    contender = next(one for one in build_contenders(Source(model), EXITS) if one.name == EXITS[-1].label)
    model.set_exit(**EXITS[-1].spec)
    with torch.inference_mode():
        np.testing.assert_array_equal(contender.call(examples), packed_call(model)(examples))


def test_padding_is_the_data_collators() -> None:
    tokenizer = train_tokenizer(["some words", "and some more words here"], 60)
    encoded = [dict(tokenizer(text)) for text in ("some words", "and some more words here")]
    ours = padded([{k: e[k] for k in ("input_ids", "token_type_ids")} for e in encoded], 0, torch.device("cpu"))
    theirs = DataCollatorWithPadding(tokenizer)(encoded)
    assert sorted(ours) == sorted(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_no_mask_where_nothing_is_padded() -> None:
    batch = [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5, 6]}]
    assert list(padded(batch, 0, torch.device("cpu"))) == ["input_ids"]


def test_benchmark_measures_every_contender(examples: list[dict[str, list[int]]]) -> None:
    settings = BenchmarkSettings(**QUICK, examples=12, rounds=2, batch_sizes=(1, 4))
    measured = run_benchmark(make_model(torch.float32), examples, EXITS, settings)
    names = {size: [m.contender for m in measured.measurements if m.batch_size == size] for size in (1, 4)}
    points = ["never", "confidence threshold=0.7"]
    assert names == {1: [PADDED, ALL_OFF, *points], 4: [PADDED, GROUPED, ALL_OFF, *points]}
    assert measured.measurements[0].speedup[PADDED] == (1.0, 1.0, 1.0)
    assert all(m.examples == 12 and m.threads == 1 for m in measured.measurements)
    assert {len(answers) for answers in measured.answers.values()} == {12}
    assert (measured.environment["device"], measured.environment["dtype"]) == ("cpu", "float32")
    assert all(measured.beside_all_off[name].same for name in (PADDED, GROUPED, ALL_OFF))


def test_memory_is_measured_where_most_is_needed(
    examples: list[dict[str, list[int]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[list[int]]] = {}

    def peak(name: str, saved: Saved, batches: list[Any], threads: int) -> Peak:
        asked[name] = [[len(example["input_ids"]) for example in batch] for batch in batches]
        return Peak(3.0, 2.0, 1.0)

    monkeypatch.setattr("eat.benchmark.run.measure_peak", peak)
    contenders = build_contenders(Source(make_model(torch.float32)), EXITS, folder=tmp_path, absent=OTHERS)
    inputs = [{"input_ids": [1] * n} for n in (2, 2, 9, 1, 6, 6, 3, 3)]
    settings = BenchmarkSettings(batch_sizes=(1, 2))
    found = measure_memory(contenders, inputs, 1, settings)
    heaviest = [[9, 1], [6, 6]]  # most when padded, most tokens
    assert asked == dict.fromkeys((PADDED, ALL_OFF, "never"), heaviest)
    assert (found.batch_size, found.examples, list(found.peaks)) == (2, 4, list(asked))


def test_a_benchmark_survives_its_file(examples: list[dict[str, list[int]]]) -> None:
    measured = run_benchmark(make_model(torch.float32), examples, EXITS, BenchmarkSettings(**QUICK, rounds=1))
    written = json.dumps(measured.to_json())
    again = Benchmark.from_json(json.loads(written))
    assert again == dataclasses.replace(measured, answers={})
    assert json.dumps(again.to_json()) == written


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*/report/benchmark.json")), ids=lambda path: path.parts[-3])
def test_committed_times_are_read_as_they_were_written(path: Path) -> None:
    values = json.loads(path.read_text())
    fingerprint = values.pop("fingerprint")
    read = read_benchmark(path.parent, fingerprint)
    assert read is not None
    assert json.loads(json.dumps(read.to_json())) == values
    assert list(read.to_json()["measurements"][0]) == list(values["measurements"][0])
    assert read_benchmark(path.parent, "of other weights") is None


def test_the_second_line_adds_the_same_tokenising_to_both(examples: list[dict[str, list[int]]]) -> None:
    texts = Texts([("a text",)] * len(examples), lambda batch: time.sleep(0.02))
    settings = BenchmarkSettings(**QUICK, rounds=2, batch_sizes=(4,))
    measured = run_benchmark(make_model(torch.float32), examples, [], settings, texts=texts).measurements
    assert len({m.tokenising_ms for m in measured}) == 1
    assert measured[0].tokenising_ms >= 20
    for one in measured:
        seconds = 12 / one.examples_per_s
        bound = (12 / measured[0].examples_per_s + 0.06) / (seconds + 0.06)
        assert one.speedup_tokenised[PADDED][0] == pytest.approx(bound, rel=0.5)
    assert measured[0].speedup_tokenised[PADDED] == (1.0, 1.0, 1.0)


def test_who_was_left_out_is_named(examples: list[dict[str, list[int]]], monkeypatch: pytest.MonkeyPatch) -> None:
    model, settings = make_model(torch.float32), {**QUICK, "rounds": 1, "batch_sizes": (4,)}
    absent = dict(run_benchmark(model, examples, [], BenchmarkSettings(**settings)).not_measured)
    for name, numbers in (("eat_int8", "int8"), *((name, "bf16") for name in HALF)):
        assert absent.pop(name) == f"{numbers} is no faster than float32 on this processor ({numbers}_gain=1)"
    assert absent == dict.fromkeys(EXPORTED, "left out with benchmark.onnx=false")
    monkeypatch.setattr("eat.benchmark.engines.engine.find_spec", lambda name: None)
    measured = run_benchmark(model, examples, [], BenchmarkSettings(**settings | {"onnx": True}))
    assert "not installed: onnx, onnxruntime, onnxscript" in measured.not_measured[ONNX_FP32]


def test_both_sides_get_the_precision_wanted(examples: list[dict[str, list[int]]]) -> None:
    model = make_model(torch.float32)
    settings = BenchmarkSettings(**QUICK, rounds=1, batch_sizes=(4,), dtype="bfloat16")
    measured = run_benchmark(model, examples, EXITS, settings)
    assert measured.environment["dtype"] == "bfloat16"
    assert next(model.parameters()).dtype == torch.float32
    exact = run_benchmark(model, examples, EXITS, BenchmarkSettings(**QUICK, rounds=1, batch_sizes=(4,))).answers
    for name in (PADDED, ALL_OFF):
        rounded = np.asarray(measured.answers[name])
        np.testing.assert_allclose(rounded, exact[name], atol=0.1 * np.abs(exact[name]).max())
        assert not np.allclose(rounded, exact[name], atol=1e-6)
    with pytest.raises(ValueError, match=r"benchmark.dtype: float16 is for GPUs"):
        run_benchmark(model, examples, [], BenchmarkSettings(**QUICK, dtype="float16"))


def test_a_batch_size_without_two_full_batches_is_not_measured(caplog: pytest.LogCaptureFixture) -> None:
    assert measurable((1, 32), 64) == (1, 32) and not caplog.text
    assert measurable((1, 32), 63) == (1,)
    assert "batches of 32 are not measured on 63 texts, of which 2 full batches or more are needed" in caplog.text
    with pytest.raises(ValueError, match=r"benchmark.batch_sizes: expected smaller ones for 1 texts, .* got \[1, 32\]"):
        measurable((1, 32), 1)


def test_a_slow_model_is_measured_on_fewer_examples() -> None:
    many = [{"input_ids": [1, 2, 3]}] * 80
    settings = BenchmarkSettings(**QUICK | {"warmup": 1}, examples=80, rounds=5, batch_sizes=(1, 8), seconds=1e-9)
    measured = run_benchmark(make_model(torch.float32), many, [], settings)
    amounts = {(m.batch_size, m.examples, m.rounds) for m in measured.measurements}
    assert amounts == {(1, 32, 3), (8, 64, 3)}  # 32 texts, 8 batches


def test_no_examples() -> None:
    with pytest.raises(ValueError, match="expected smaller ones for 0 texts"):
        run_benchmark(make_model(torch.float32), [], [], BenchmarkSettings())


def test_drawn_examples_are_repeatable_and_not_repeated() -> None:
    settings = BenchmarkSettings(examples=5)
    drawn = draw_examples(20, settings)
    assert len(set(drawn.tolist())) == 5
    assert drawn.tolist() == draw_examples(20, settings).tolist()
    assert len(draw_examples(3, settings)) == 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("examples", 0),
        ("rounds", 0),
        ("seconds", 0.0),
        ("warmup", -1),
        ("batch_sizes", (0,)),
        ("threads", (0,)),
        ("dtype", "int4"),
    ],
)
def test_settings_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"benchmark\.{option}: expected"):
        BenchmarkSettings(**{option: value})
