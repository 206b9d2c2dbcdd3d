"""An export is compared with its model: what differs is found, and near-ties are counted apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from transformers import AutoTokenizer

from eat.backbones.weights import resolve_weights
from eat.deployment import OnnxClassifier, export_onnx
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.tasks import build_task
from eat.testing import CheckFailedError, check_export
from eat.testing.engines import draw_examples
from eat.testing.exports import compare_export
from eat.testing.models import make_model

PRUNER = {"name": "l2_norm", "depths": [1, 2], "ratio": 0.3}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[AdaptiveForSequenceClassification, Path, list[Any]]:
    model = make_model(seed=0, pruner=PRUNER, exit={"name": "confidence", "threshold": 0.5237}).float()
    model.set_temperatures([1.5, *[1.0] * (len(model.temperatures) - 1)])
    folder = tmp_path_factory.mktemp("exports") / "served"
    export_onnx(model, None, folder)
    return model, folder, [example for seed in range(6) for example in draw_examples(model, seed)]


def test_an_export_answers_as_its_model(exported: Any) -> None:
    model, folder, examples = exported
    agreement = check_export(model, folder, examples, batch_sizes=(1, 5))
    assert (agreement.texts, agreement.batch_sizes, agreement.differ) == (len(examples), (1, 5), agreement.near_ties)
    assert agreement.difference < 1e-4
    assert f"{len(examples)} texts are answered alike in batches of 1 and 5" in str(agreement)


def test_another_models_export_is_found_out(exported: Any) -> None:
    model, folder, examples = exported
    other = make_model(seed=1, pruner=PRUNER, exit={"name": "confidence", "threshold": 0.5237}).float()
    with pytest.raises(CheckFailedError, match=r"every text that is no near-tie, got another for \d+, the first of"):
        check_export(other, folder, examples)
    with pytest.raises(ValueError, match="examples: expected at least one text, got none"):
        check_export(model, folder, [])


@pytest.mark.parametrize(("apart", "near"), [(1e-6, 1), (1e-2, 0)])
def test_what_hangs_on_rounding_is_a_near_tie(exported: Any, apart: float, near: int) -> None:
    """The export's threshold lies on the other side of one text's confidence, closely or not."""
    model, folder, examples = exported
    one = examples[:1]
    with torch.inference_mode():
        ids, types = (torch.tensor(one[0][key]) for key in ("input_ids", "token_type_ids"))
        traced = model(ids, token_type_ids=types, lengths=[len(ids)], trace=True).all_logits
    first = float(traced[0, 0].double().softmax(0).max())
    model.set_exit(name="confidence", threshold=first - apart / 2)
    served = OnnxClassifier.from_folder(folder).changed(exit={"name": "confidence", "threshold": first + apart / 2})
    agreement, others = compare_export(model, served, one)
    assert (agreement.depths, agreement.differ, agreement.near_ties) == (1, 1, near)
    assert others == ([] if near else [0])


@pytest.mark.data
def test_real_sentences_are_answered_alike(tmp_path: Path) -> None:
    """SST-2's validation through the packaged MiniLM, pruned, in a window, with exits of untrained heads."""
    try:
        weights = resolve_weights("minilm", path=None, hub=None)
    except (FileNotFoundError, ValueError) as missing:
        pytest.skip(f"needs the weights of MiniLM: {missing}")
    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = AdaptiveForSequenceClassification.from_backbone(
        weights,
        attention={"name": "windowed", "window": 16},
        pruner={"name": "l2_norm", "depths": [2, 4], "ratio": 0.3},
        head_depths="all",
        head_pooling="mean",
        sep_token_id=tokenizer.sep_token_id,
        seed=0,
    )
    rows = build_task({"name": "sst2"}).load(cache_dir=tmp_path)["validation"].select(range(200))
    examples = [dict(tokenizer(text)) for text in rows["text"]]
    encoded = [{key: example[key] for key in ("input_ids", "token_type_ids")} for example in examples]
    model.set_exit(name="confidence", threshold=float(np.median([_surest(model, one) for one in encoded[:50]])))
    export_onnx(model, None, tmp_path / "served")
    agreement = check_export(model, tmp_path / "served", encoded)
    assert agreement.texts == 200 and agreement.near_ties <= 4
    served = OnnxClassifier.from_folder(tmp_path / "served")
    depths = {int(served.run(one["input_ids"], [len(one["input_ids"])]).exit_depth[0]) for one in encoded[:50]}
    assert len(depths) > 2, "exits at several depths"


def _surest(model: AdaptiveForSequenceClassification, example: Any) -> float:
    """Return the greatest confidence of a text's early heads."""
    with torch.inference_mode():
        ids = torch.tensor(example["input_ids"])
        return float(model(ids, lengths=[len(ids)], trace=True).all_logits[0, :-1].softmax(1).max())
