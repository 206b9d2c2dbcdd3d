"""Random tiny models, shared by the cases of many seeds, and random parts for them, which are each case's own."""

from __future__ import annotations

import functools
import random
from typing import Any

import torch

from eat.backbones import BACKBONES
from eat.backbones.base import DENSE, LEARN_FORGET
from eat.backbones.tiny import tiny_config
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.config import PROBLEM_TYPES
from eat.models.inputs import Inputs
from eat.models.rules import EMBEDDINGS, SufficientRule, Tap
from eat.modules.heads import POOLINGS
from eat.training.compression import build_compression
from tests.reference.tiny import MODEL_TYPES, SEP, VOCABULARY, batch_of, randomise, spread_answers, types_for

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
    model_type = draw.choice(MODEL_TYPES)
    config = tiny_config(
        model_type,
        vocab_size=VOCABULARY,
        dim=heads * draw.choice([4, 8]),
        num_layers=num_layers,
        num_heads=heads,
        intermediate_size=draw.choice([8, 24, 40]),
        max_length=draw.choice([32, 40, 64, 240]),
    )
    kind = draw.choices(["classification", "regression", "multi_label"], [65, 15, 20])[0]
    regression = kind == "regression"
    feed_forward = draw.choices([DENSE, LEARN_FORGET], [85, 15])[0]
    model = Model.from_backbone(
        config,
        num_labels=1 if regression else draw.randint(2, 5),
        problem_type=PROBLEM_TYPES.get(kind),
        feed_forward=feed_forward if feed_forward in BACKBONES[model_type].feed_forwards else DENSE,
        head_depths=sorted(draw.sample(range(1, num_layers + 1), draw.randint(0, num_layers))) or "all",
        head_pooling=draw.choice(["cls", "mean"]),
        final_head_pooling=draw.choice([None, "cls", "mean"]),
        sep_token_id=SEP,
        seed=number,
    )
    if draw.random() < 0.85:  # else LayerNorm gains are 1, as in a model that was never trained: norms tie
        randomise(model, number)
    if draw.random() < 0.4:
        model = compressed(draw, model, number)
    spread_answers(model)
    if draw.random() < 0.15 and model.config.weights is None:
        model = model.quantize(anyway=True)
    if not regression and draw.random() < 0.3:
        model.set_temperatures([round(draw.uniform(0.5, 3), 2) for _ in model.head_depths])
    if model.config.engine is not None:
        return model
    dtype = draw.choices(list(DTYPES), list(DTYPES.values()))[0]
    return model.to(getattr(torch, dtype)).eval()


def compressed(draw: random.Random, model: Model, seed: int) -> Model:
    """Compress a model as a training does, with random scores in the place of learned ones."""
    schedule = {"start": 0.0, "end": 0.0, "score_lr": 0.0}
    specs: dict[str, dict[str, Any]] = {
        "movement": schedule | {"keep": draw.choice([0.1, 0.5, 0.9])},
        "binarized": {"embeddings": draw.random() < 0.5},
    }
    if model.backbone.not_narrowed is None:
        shares = {"heads": draw.choice([0.25, 0.5, 1.0]), "neurons": draw.choice([0.1, 0.5, 1.0])}
        specs["structured"] = schedule | shares | {"multiple": draw.choice([1, 4])}
    name = draw.choice(list(specs))
    compression = build_compression({"name": name} | specs[name])
    compression.attach(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, values in model.named_parameters():
            if parameter.endswith(".scores"):
                values.normal_(generator=generator)
    return compression.finish(model)


def random_parts(draw: random.Random, model: Model) -> dict[str, dict[str, Any]]:
    """Draw attention, pruner and exit that suit a model."""
    return {
        "attention": random_attention(draw),
        "pruner": random_pruner(draw, model.num_layers),
        "exit": random_exit(draw, model.config.num_outputs, multi_label=model.config.multi_label),
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


def random_exit(draw: random.Random, num_outputs: int, *, multi_label: bool) -> dict[str, Any]:
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
    if draw.random() < 0.2 and not multi_label:
        spec["threshold"] = [draw.random() for _ in range(num_outputs)]
    if name in ("patience", "patience_confidence"):
        spec["patience"] = draw.randint(1, 3)
    if name == "patience" and draw.random() < 0.5:
        del spec["threshold"]
    if draw.random() < 0.25:
        spec["veto_margin"] = draw.random()
    return spec


def random_rules(draw: random.Random, model: Model) -> list[SufficientRule]:
    """Draw sufficient rules that suit a model with its parts, some of which fire on a part of the texts."""
    first = model.head_depths[0] if model.exit_criterion.active else model.num_layers
    taps = [EMBEDDINGS, *(Tap(depth, place) for depth in range(1, first) for place in ("attention", "block"))]
    lengths, pad = [3, 5, 8, 13, 21, 11, 2, 7], model.backbone.pad_token_id
    ids, mask, types = batch_of(lengths, seed=draw.randrange(2**30), pad=pad)
    found: dict[Tap, dict[str, torch.Tensor]] = {}

    def visit(tap: Tap, state: Any) -> Any:
        found[tap] = {name: pool(state).float() for name, pool in POOLINGS.items()}
        return state

    model.encoder.walk(model.embedded(Inputs(ids, mask, types_for(model, types), None)), visit, first - 1)
    rules = []
    for _ in range(draw.randint(1, 3)):
        tap, pooling = draw.choice(taps), draw.choice(list(POOLINGS))
        weight = tuple(draw.gauss(0, 1) for _ in range(model.backbone.dim))
        scores = sorted((found[tap][pooling] @ torch.tensor(weight)).tolist())
        place = draw.randrange(len(scores) - 1)
        gap = scores[place + 1] - scores[place]
        threshold = scores[place] + (gap / 2 if gap > 0.01 else 1.0)  # texts may read the same: [CLS] at depth 0
        label = draw.randrange(model.config.num_outputs)
        rules.append(SufficientRule(tap.depth, tap.place, pooling, label, weight, threshold, 0.01, 0.02))
    return rules
