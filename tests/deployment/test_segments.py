"""Exported segments answer as the model does: every backbone, attention, pruner and pooling, in any batch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eat.backbones.tiny import tiny_config
from eat.data.tokenizer import train_tokenizer
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.engines import EngineId
from eat.models.granted import with_digest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from eat.deployment import OnnxClassifier, export_onnx
from eat.deployment.activations import rows_digest
from eat.deployment.blocks import block_inputs
from eat.deployment.export import export_parts

LENGTHS = np.array([5, 1, 30, 17, 2, 40, 9, 9])
IDS = np.random.default_rng(0).integers(2, 128, LENGTHS.sum())
WINDOW = {"name": "windowed", "window": 4, "global_tokens": ["cls", "sep"]}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("bert", {"pruner": {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}, "head_pooling": "mean"}),
    ("distilbert", {"pruner": {"name": "attention_received", "depths": [1, 3], "ratio": [0.3, 0.2]}}),
    ("roberta", {"attention": {"name": "windowed", "window": 4}, "pruner": {"name": "random", "depths": [2]}}),
    ("xlm-roberta", {"pruner": {"name": "l2_norm", "depths": [2], "ratio": 0.4}}),
    ("electra", {"attention": WINDOW, "pruner": {"name": "random", "depths": [1], "min_retention": 0.8, "seed": 3}}),
    ("bert", {"attention": WINDOW, "head_pooling": "mean", "final_head_pooling": "cls"}),
]


def build(model_type: str = "bert", **options: Any) -> AdaptiveForSequenceClassification:
    options = {"head_depths": [1, 2, 3], "exit": {"name": "confidence", "threshold": 0.6}, "num_labels": 3} | options
    model = AdaptiveForSequenceClassification.from_backbone(tiny_config(model_type), sep_token_id=7, seed=0, **options)
    with torch.no_grad():
        for head in model.encoder.heads.values():
            head.out.weight.mul_(100)
    model.set_temperatures([1.0, 2.0, 1.5, 1.0])
    return model


def leaving_some(model: AdaptiveForSequenceClassification) -> AdaptiveForSequenceClassification:
    """Set the threshold between the first head's confidences, so that some exit there and some go on."""
    with torch.inference_mode():
        traced = model(torch.from_numpy(IDS), lengths=torch.from_numpy(LENGTHS), trace=True).all_logits
    confidences = traced[:, 0].softmax(1).amax(1).sort().values
    model.set_exit(name="confidence", threshold=float(confidences[3:5].mean()))
    return model


def same(ours: Any, theirs: Any) -> None:
    np.testing.assert_array_equal(ours.exit_depth, theirs.exit_depth)
    np.testing.assert_array_equal(ours.tokens_kept, theirs.tokens_kept)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
    if theirs.all_logits is not None:
        np.testing.assert_allclose(ours.all_logits, theirs.all_logits, atol=1e-4)


@pytest.mark.parametrize(("model_type", "options"), CASES, ids=str)
def test_segments_answer_as_the_model(model_type: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = leaving_some(build(model_type, **options))
    served = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "served"))
    for trace in (False, True):
        with torch.inference_mode():
            expected = model(torch.from_numpy(IDS), lengths=torch.from_numpy(LENGTHS), trace=trace)
        same(served.run(IDS, LENGTHS, trace=trace), expected)
    together, start = served.run(IDS, LENGTHS), 0
    assert len(set(together.exit_depth.tolist())) > 1
    for place, length in enumerate(LENGTHS.tolist()):
        alone = served.run(IDS[start : start + length], [length])
        start += length
        assert alone.exit_depth[0] == together.exit_depth[place]
        np.testing.assert_allclose(alone.logits[0], together.logits[place], atol=1e-4)


def test_long_texts_that_see_all_of_theirs_attend_in_the_other_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eat.deployment.segments.LONG", 9)
    model = build(exit={"name": "never"})
    served = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "served"))
    for lengths in ([8], [9], [17, 17], [30]):
        ids = IDS[: sum(lengths)]
        with torch.inference_mode():
            same(served.run(ids, lengths), model(torch.from_numpy(ids), lengths=torch.tensor(lengths)))


@pytest.mark.parametrize("pruner", ["none", "l2_norm", "attention_received"])
def test_texts_of_one_length_attend_to_a_window_as_they_lie(tmp_path: Path, pruner: str) -> None:
    spec = {"name": pruner} if pruner == "none" else {"name": pruner, "depths": [1, 3], "ratio": 0.3}
    model = build(attention=WINDOW, pruner=spec, exit={"name": "never"})
    served = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "served"))
    for lengths in ([17], [12, 12], [12, 12, 11]):
        ids = IDS[: sum(lengths)]
        with torch.inference_mode():
            same(served.run(ids, lengths), model(torch.from_numpy(ids), lengths=torch.tensor(lengths)))


LONG = np.array([128, 90, 3, 70, 128, 33])
LONG_IDS = np.random.default_rng(1).integers(2, 128, LONG.sum())
LONG_IDS[np.random.default_rng(2).choice(len(LONG_IDS), 12)] = 7  # separators, global where the attention says so


@pytest.mark.parametrize("global_tokens", [["cls"], ["cls", "sep"]], ids=str)
@pytest.mark.parametrize("pruner", ["none", "l2_norm", "attention_received"])
def test_long_texts_attend_in_blocks(tmp_path: Path, pruner: str, global_tokens: list[str]) -> None:
    spec = {"name": pruner} if pruner == "none" else {"name": pruner, "depths": [1, 3], "ratio": 0.3}
    window = {"name": "windowed", "window": 6, "global_tokens": global_tokens}
    model = build(attention=window, pruner=spec, head_pooling="mean", exit={"name": "never"})
    served, seen = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "served")), []

    def counted(*given: Any) -> Any:
        seen.append(bool((blocks := block_inputs(*given))["blocked"]))
        return blocks

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr("eat.deployment.rows.block_inputs", counted)
        expected = model(torch.from_numpy(LONG_IDS), lengths=torch.from_numpy(LONG), trace=True)
        same(served.run(LONG_IDS, LONG, trace=True), expected)
    assert any(seen) and not all(seen), "long texts in blocks, short ones whole"


def test_blocks_hold_every_pair_that_may_see_each_other_once() -> None:
    generator = np.random.default_rng(0)
    lengths, reach = np.array([150, 40, 1]), 5
    positions = np.concatenate([np.sort(generator.choice(300, n, replace=False)) for n in lengths])
    sequence = np.repeat(np.arange(3), lengths)
    is_global = generator.random(len(positions)) < 0.02
    is_global[[0, 150, 190]] = True
    valid = np.arange(150) < lengths[:, None]
    blocks = block_inputs(positions, is_global, lengths, valid, reach)
    assert blocks["blocked"]
    seen = np.zeros((len(positions), len(positions)), dtype=int)
    gather = np.where(valid, (lengths.cumsum() - lengths)[:, None] + np.arange(150), 0)
    local, others = blocks["block_queries"], blocks["global_queries"]
    for row, place in enumerate(blocks["block_places"]):
        if place < local.size:
            table, mask = place // local.shape[1], blocks["block_mask"]
            keys, column = blocks["block_keys"][table], place % local.shape[1]
        else:
            table, mask = (place - local.size) // others.shape[1], blocks["global_mask"]
            keys, column = gather[table], (place - local.size) % others.shape[1]
        np.add.at(seen[row], keys[mask[table, 0, column] == 0], 1)
    near = np.abs(positions[:, None] - positions) <= reach
    expected = (near | is_global | is_global[:, None]) & (sequence[:, None] == sequence)
    np.testing.assert_array_equal(seen, expected.astype(int))


def test_everything_can_be_switched_off(tmp_path: Path) -> None:
    from eat.models.sharing import ALL_OFF_PARTS, all_off

    model = build(pruner={"name": "l2_norm", "depths": [1, 2]}, attention=WINDOW)
    served = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "served")).changed(**ALL_OFF_PARTS)
    with torch.inference_mode():
        same(served.run(IDS, LENGTHS), all_off(model)(torch.from_numpy(IDS), lengths=torch.from_numpy(LENGTHS)))
    with pytest.raises(ValueError, match=r"exit.name: expected one of .* got 'confidenc'.*did you mean"):
        served.changed(exit={"name": "confidenc"})
    with pytest.raises(ValueError, match=r"pruner.depths: expected depths at which a segment ends"):
        served.changed(pruner=export_parts(model)["pruner"] | {"depths": [1, 9]})


@pytest.mark.parametrize("bits", [7, 8])
@pytest.mark.parametrize("static", [False, True])
def test_int8_is_near_and_small_and_a_row_does_not_depend_on_others(
    tmp_path: Path, bits: int, static: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr("eat.deployment.runner.cpu_facts", lambda: "avx512_vnni")
    model = build(exit={"name": "never"})
    exact = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "float32"))
    rows = [{"input_ids": part.tolist()} for part in np.split(IDS, np.cumsum(LENGTHS)[:-1])] if static else None
    folder = export_onnx(model, None, tmp_path / "int8", int8=True, bits=bits, calibration=rows)
    served = OnnxClassifier.from_folder(folder)
    assert served.manifest.engine == ("eat_onnx_static" if static else "eat_onnx_int8")
    expected, rounded = exact.run(IDS, LENGTHS).logits, served.run(IDS, LENGTHS).logits
    off = np.abs(rounded - expected).max() / np.abs(expected).max()
    assert 1e-5 < off < 0.05
    # Without padding in attention nothing is left that other sequences could change.
    ids = np.random.default_rng(1).integers(2, 128, 6 * 9)
    together = served.run(ids, [9] * 6).logits
    alone = np.concatenate([served.run(ids[start : start + 9], [9]).logits for start in range(0, 54, 9)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_an_8_bit_export_is_refused_where_products_saturate(tmp_path: Path, monkeypatch: Any) -> None:
    export_onnx(build(), None, tmp_path / "served", int8=True, bits=8)
    monkeypatch.setattr("eat.deployment.runner.cpu_facts", lambda: "avx2")
    with pytest.raises(ValueError, match=r"exported with 8-bit activations.*export it with bits=7"):
        OnnxClassifier.from_folder(tmp_path / "served")


WITHOUT_TORCH = """
import importlib.util, json, sys
REFUSED = {"torch", "transformers", "jaxtyping", "onnx"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in REFUSED else found(name, *more)
from eat.deployment import OnnxClassifier
answers = OnnxClassifier.from_folder(sys.argv[1]).predict([["a good film", "it is good"], ["bad", "a bad film " * 90]])
print(json.dumps([[one.label, one.score, one.exit_depth, one.tokens, one.tokens_kept] for one in answers]))
assert not REFUSED & set(sys.modules)
"""


def test_texts_are_served_without_torch(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a good film", "a bad film", "it is good"])
    model = build(pruner={"name": "l2_norm", "depths": [1, 2]})
    export_onnx(model, tokenizer, tmp_path / "served")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "served")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    pairs = [("a good film", "it is good"), ("bad", "a bad film " * 90)]
    for got, pair in zip(json.loads(done.stdout), pairs, strict=True):
        inputs = tokenizer(*pair, truncation="longest_first", max_length=128, return_tensors="pt")
        with torch.inference_mode():
            output = model(inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
        best = int(output.logits.argmax())
        probability = float(output.logits.softmax(1).max())
        kept = output.tokens_kept[0]
        expected = [model.config.id2label[best], pytest.approx(probability, abs=1e-4), int(output.exit_depth)]
        assert got == [*expected, int(kept[0]), int(kept[int(output.exit_depth) - 1])]


def _no_segment(folder: Path) -> None:
    next(folder.glob("segment_*")).unlink()


def _tampered(folder: Path) -> None:
    with next(folder.glob("segment_*")).open("ab") as file:
        file.write(b"x")


def _change(**values: Any) -> Any:
    def change(folder: Path) -> None:
        file = folder / "eat_onnx.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_segment, "is missing, though eat_onnx.json names it"),
        (_tampered, "is not the file that was exported"),
        (_change(format=2), "expected format 1 or older, got 2; install a newer eat"),
        (_change(files={"../x": ""}), "expected the SHA-256 of segment_1_to_1.onnx"),
        (_change(exit={"name": "os.system"}), "exit.name: expected one of"),
        (_change(surprise=1), "expected the keys"),
        (_change(segments=3), "expected what an export writes"),
        (_change(segments=[]), r"^eat_onnx.json: segments: expected some that follow each other .*; export again$"),
        (_change(max_length=0), "max_length: expected an integer of 1 or more, got 0"),
        (
            _change(
                max_length=2,
                templates=[{"special_ids": [[2], [3]], "special_types": [[0], [0]], "text_types": [0]}],
            ),
            "max_length: expected room for the special tokens and a token of each of 1 texts, 3 or more",
        ),
        (_change(bits=8), "bits: expected none in float32"),
        (_change(labels=[]), "labels: expected names"),
        (_change(temperatures=[1.0, 0.0, 1.0, 1.0]), "temperatures: expected a number above 0, got 0.0"),
        (_change(exit={"name": "difference", "threshold": 1.0}), "exit.name: expected one that suits 3 outputs"),
        (_change(exit={"name": "confidence", "threshold": [0.5]}), r"exit.threshold: expected a number .*got \[0.5\]"),
        (_change(pruner={"name": "l2_norm", "depths": [1], "ratio": [0.1, 0.2]}), "pruner.ratio: expected one"),
        (_change(attention={"name": "windowed", "window": 3}), "attention.window: expected an even number, got 3"),
        (
            _change(templates=[{"special_ids": [[2]], "special_types": [[0]], "text_types": [0]}]),
            "templates: expected special tokens around 1 texts, got {'special_ids'",
        ),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path: Path, damage: Any, message: str) -> None:
    folder = export_onnx(build(), None, tmp_path / "served")
    damage(folder)
    with pytest.raises((FileNotFoundError, ValueError), match=message) as caught:
        OnnxClassifier.from_folder(folder)
    assert "\n" not in str(caught.value)


def test_a_graph_that_cannot_run_is_named(tmp_path: Path) -> None:
    folder = export_onnx(build(), None, tmp_path / "served")
    _change(position_offset=1000)(folder)
    with pytest.raises(ValueError, match=r"^segment_1_to_1.onnx: onnxruntime cannot run it .* is eat_onnx.json as it"):
        OnnxClassifier.from_folder(folder).run([5], [1])


def test_bad_input_is_named(tmp_path: Path) -> None:
    served = OnnxClassifier.from_folder(export_onnx(build(), None, tmp_path / "served"))
    for ids, lengths, message in (
        ([5], [2], "ids: expected 2 ids and types"),
        ([500], [1], r"ids: expected token ids in \[0, 128\)"),
        ([], [], "lengths: expected sequences of 1 to 128 tokens"),
        ([1.5], [1], "ids: expected a flat list of integers"),
    ):
        with pytest.raises(ValueError, match=message):
            served.run(np.array(ids), np.array(lengths, dtype=np.int64))
    with pytest.raises(ValueError, match="expected an export with a tokenizer"):
        served.predict(["a text"])
    with pytest.raises(ValueError, match="bits: expected 7 or 8, with int8 alone"):
        export_onnx(build(), None, tmp_path / "other", bits=7)
    assert not (tmp_path / "other").exists()


def certified(model: AdaptiveForSequenceClassification, engine: EngineId) -> dict[str, Any]:
    parts = export_parts(model)
    facts = {"exit": parts["exit"], "bound": 0.01, "model": engine.model_fingerprint(model)}
    return with_digest(facts | engine.facts)


def test_an_export_carries_the_certificate_of_its_engine_alone(tmp_path: Path) -> None:
    model, engine = build(), EngineId("eat_onnx")
    granted = certified(model, engine)
    served = OnnxClassifier.from_folder(export_onnx(model, None, tmp_path / "served", certificate=granted))
    assert served.manifest.certificate == granted
    assert served.changed(exit={"name": "never"}).manifest.certificate is None
    other = build(pruner={"name": "l2_norm", "depths": [1, 2]})
    for source, certificate, int8, message in (
        (model, granted, True, r"expected one made with eat_onnx_int8 \(bits [78]\), got one of eat_onnx \(None\)"),
        (model, certified(model, EngineId()), False, "expected one made with eat_onnx .*got one of eat "),
        (model, granted | {"bound": 0.001}, False, "was edited after it was granted"),
        (other, granted, False, "expected one about the exported model"),
    ):
        with pytest.raises(ValueError, match=message):
            export_onnx(source, None, tmp_path / "other", int8=int8, certificate=certificate)
    model.config.certificate = certified(model, EngineId())
    with pytest.raises(ValueError, match=r"was made with eat and says nothing of eat_onnx; .*or drop it"):
        export_onnx(model, None, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "eat_onnx_int8", "bits": 8}, r"expected one made with eat_onnx_int8 \(bits 8\), got "),
        ({"fingerprint": "0" * 16}, "expected one about the exported model 0000000000000000"),
        ({"exit": {"name": "never"}}, r"expected one about the exported model .* and its exit {'name': 'never'}"),
    ],
)
def test_a_certificate_does_not_hold_for_what_was_changed(
    tmp_path: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eat.deployment.runner.cpu_facts", lambda: "avx512_vnni")
    model = build()
    folder = export_onnx(model, None, tmp_path / "served", certificate=certified(model, EngineId("eat_onnx")))
    _change(**change)(folder)
    with pytest.raises(ValueError, match=message):
        OnnxClassifier.from_folder(folder)


@pytest.mark.parametrize("numbers", ["int8", "bf16"])
def test_a_model_with_other_weights_is_refused(tmp_path: Path, numbers: str) -> None:
    model = build().quantize(numbers, anyway=True)
    with pytest.raises(ValueError, match=f"^model: expected float32 weights, got {numbers} ones; export the float32"):
        export_onnx(model, None, tmp_path / "served")
    assert not list(tmp_path.iterdir())


def test_a_certificate_ends_where_what_was_exported_with_it_is_edited(tmp_path: Path) -> None:
    model = build(exit={"name": "confidence", "threshold": 0.4})
    granted = certified(model, EngineId("eat_onnx"))
    folder = export_onnx(model, None, tmp_path / "served", certificate=granted)
    written = json.loads((folder / "eat_onnx.json").read_text())
    for edited in (
        {"temperatures": [0.5] * len(written["temperatures"])},
        {"attention": {"name": "windowed", "window": 4, "global_tokens": ["cls"]}},
        {"labels": written["labels"][::-1]},
    ):
        (folder / "eat_onnx.json").write_text(json.dumps(written | edited))
        with pytest.raises(ValueError, match="expected the values that were exported with it, got edited ones"):
            OnnxClassifier.from_folder(folder)
    (folder / "eat_onnx.json").write_text(json.dumps(written | edited | {"certificate": None}))
    assert OnnxClassifier.from_folder(folder).manifest.certificate is None
    del written["digest"]  # as exports before it
    (folder / "eat_onnx.json").write_text(json.dumps(written))
    assert OnnxClassifier.from_folder(folder).manifest.certificate == granted


def test_an_export_that_is_replaced_leaves_no_segment_behind(tmp_path: Path) -> None:
    export_onnx(build(), None, tmp_path / "served")
    whole = AdaptiveForSequenceClassification.from_backbone(tiny_config("bert"), seed=0, head_depths=[])
    export_onnx(whole, None, tmp_path / "served")
    assert [file.name for file in (tmp_path / "served").glob("segment_*")] == ["segment_1_to_4.onnx"]


def test_a_static_certificate_holds_for_the_rows_that_its_ranges_were_measured_on(tmp_path: Path) -> None:
    model = build()
    rows = [{"input_ids": part.tolist()} for part in np.split(IDS, np.cumsum(LENGTHS)[:-1])]
    engine = EngineId("eat_onnx_static", 7)
    exit = export_parts(model)["exit"]
    facts = {"exit": exit, "bound": 0.01, "model": engine.model_fingerprint(model), "calibration": rows_digest(rows)}
    granted = with_digest(facts | engine.facts)
    static = {"int8": True, "bits": 7, "certificate": granted}
    with pytest.raises(ValueError, match="calibration: expected the rows that the certificate was made with"):
        export_onnx(model, None, tmp_path / "served", calibration=rows[1:], **static)
    assert not (tmp_path / "served").exists()
    typed = [row | {"token_type_ids": [0] * len(row["input_ids"])} for row in rows]
    for number, given in enumerate((rows, typed)):
        folder = export_onnx(model, None, tmp_path / f"served{number}", calibration=given, **static)
        assert OnnxClassifier.from_folder(folder).manifest.certificate == granted
