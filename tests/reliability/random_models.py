"""Random tiny models, shared by the cases of many seeds, and random parts for them, which are each case's own."""

from __future__ import annotations

import functools
import random
from typing import Any

import torch

from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from tests.reference.tiny import MODEL_TYPES, SEP, VOCABULARY, randomise, spread_answers

CASES_PER_MODEL = 24
DTYPES = {"float64": 10, "float32": 10, "bfloat16": 1, "float16": 1}  # how often each is drawn
Model = AdaptiveForSequenceClassification


def model_number(seed: int) -> int:
    """Return which model the case of a seed shares with its neighbours."""
    return seed // CASES_PER_MODEL


@functools.lru_cache(maxsize=4)
def make_model(number: int) -> Model:
    """Build a random model: its shape, heads, weights and precision follow from the number alone."""
    draw = random.Random(f"model {number}")
    num_layers = draw.randint(1, 5)
    heads = draw.choice([1, 2, 4])
    config = tiny_config(
        draw.choice(MODEL_TYPES),
        vocab_size=VOCABULARY,
        dim=heads * draw.choice([4, 8]),
        num_layers=num_layers,
        num_heads=heads,
        intermediate_size=draw.choice([8, 24, 40]),
        max_length=draw.choice([32, 40, 64, 240]),
    )
    regression = draw.random() < 0.15
    model = Model.from_backbone(
        config,
        num_labels=1 if regression else draw.randint(2, 5),
        problem_type="regression" if regression else None,
        head_depths=sorted(draw.sample(range(1, num_layers + 1), draw.randint(0, num_layers))) or "all",
        head_pooling=draw.choice(["cls", "mean"]),
        final_head_pooling=draw.choice([None, "cls", "mean"]),
        sep_token_id=SEP,
        seed=number,
    )
    if draw.random() < 0.85:  # else LayerNorm gains are 1, as in a model that was never trained: norms tie
        randomise(model, number)
    spread_answers(model)
    if not regression and draw.random() < 0.3:
        model.set_temperatures([round(draw.uniform(0.5, 3), 2) for _ in model.head_depths])
    dtype = draw.choices(list(DTYPES), list(DTYPES.values()))[0]
    return model.to(getattr(torch, dtype)).eval()


def random_parts(draw: random.Random, model: Model) -> dict[str, dict[str, Any]]:
    """Draw attention, pruner and exit that suit a model."""
    return {
        "attention": random_attention(draw),
        "pruner": random_pruner(draw, model.num_layers),
        "exit": random_exit(draw, model.config.num_outputs),
    }


def random_attention(draw: random.Random) -> dict[str, Any]:
    """Draw an attention part."""
    if draw.random() < 0.4:
        return {"name": "full"}
    tokens = draw.choice([["cls"], ["cls", "sep"], ["sep", "cls"]])
    return {"name": "windowed", "window": 2 * draw.randint(1, 12), "global_tokens": tokens}


def random_pruner(draw: random.Random, num_layers: int) -> dict[str, Any]:
    """Draw a pruner for so many layers."""
    name = draw.choice(["none", "l2_norm", "attention_received", "random"])
    if name == "none" or num_layers < 2:
        return {"name": "none"}
    depths = sorted(draw.sample(range(1, num_layers), draw.randint(1, num_layers - 1)))
    ratio = round(draw.uniform(0, 0.95), 3) if draw.random() < 0.7 else [round(draw.random() * 0.9, 2) for _ in depths]
    spec: dict[str, Any] = {"name": name, "depths": depths, "ratio": ratio, "min_tokens": draw.randint(0, 3)}
    spec["min_retention"] = draw.choice([0.0, 0, 0.3, 0.75, 1.0])
    return spec | ({"seed": draw.randint(-5, 2**40)} if name == "random" else {})


def random_exit(draw: random.Random, num_outputs: int) -> dict[str, Any]:
    """Draw an exit criterion; thresholds are irregular, so that only chance makes a near-tie."""
    if num_outputs == 1:
        spec = {"name": "difference", "threshold": draw.uniform(0, 2), "patience": draw.randint(1, 3)}
        return draw.choice([{"name": "never"}, spec, spec])
    name = draw.choice(
        [
            "never",
            "confidence",
            "entropy",
            "margin",
            "patience",
            "patience_confidence",
            "entropy_reduction",
            "agreement",
        ]
    )
    spec: dict[str, Any] = {"name": name}
    if name == "never":
        return spec
    spec["threshold"] = draw.choice([0.0, 1.0, draw.random(), draw.random(), draw.random()])
    if draw.random() < 0.2:
        spec["threshold"] = [draw.random() for _ in range(num_outputs)]
    if name in ("patience", "patience_confidence"):
        spec["patience"] = draw.randint(1, 3)
    if name == "patience" and draw.random() < 0.5:
        del spec["threshold"]
    if draw.random() < 0.25:
        spec["veto_margin"] = draw.random()
    return spec
