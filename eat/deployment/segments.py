"""Build a segment's graph from a model's weights: embeddings, blocks, head; one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

from eat.backbones.base import Backbone
from eat.checks import one_of
from eat.deployment.activations import Activation
from eat.deployment.graph import MICROSOFT, Graph, per_channel
from eat.models.classifier import AdaptiveForSequenceClassification

ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "gelu_fast": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "mish": ("Mish", {}),
}
"""Hugging Face's name of a nonlinearity -> operator and attributes."""
LONG = 384
"""Tokens from which the scores of a head leave the processor's cache: ONNX's own attention writes all of them, and is
the faster one before; ONNX Runtime's never does where nothing is masked."""


def segment_model(
    model: AdaptiveForSequenceClassification,
    start: int,
    end: int,
    *,
    received: bool,
    bits: int | None,
    activations: Mapping[nn.Module, Activation] = MappingProxyType({}),
) -> Any:
    """Return the graph of the blocks after ``start`` up to ``end``, with the head there if there is one.

    Inputs are those of `eat.deployment.rows.segment_inputs`, and ``rows``, or what embeddings need before the first
    block. Outputs: the rows, the attention received where asked, the logits.
    """
    graph, backbone = Graph(bits, activations), model.backbone
    one_of("backbone.activation", backbone.activation, ACTIVATIONS)
    graph.given("grouped", "BOOL", [])
    graph.given("padded", "BOOL", [])
    graph.given("shape", "INT64", [3])
    graph.given("gather", "INT64", ["batch", "width"])
    graph.given("scatter", "INT64", ["tokens"])
    graph.given("mask", "FLOAT", ["masked", 1, "queries", "keys"])
    in_blocks = (model.config.attention or {})["name"] == "windowed"
    if in_blocks:
        _give_blocks(graph)
    rows = _embeddings(graph, model) if start == 0 else graph.given("rows", "FLOAT", ["tokens", backbone.dim])
    scores = None
    blocks = model.encoder.blocks
    for index in range(start, end):
        wanted = received and index == end - 1
        block, name = blocks[index], f"block{index % len(list(blocks.children()))}"  # what blocks share is written once
        rows, scores = _block(graph, block, backbone, name, rows, received=wanted, in_blocks=in_blocks and not wanted)
    outputs = [graph.add("Identity", rows)] + ([scores] if scores else [])
    if end in model.head_depths:
        outputs.append(_head(graph, model, end, rows))
    return graph.model(outputs)


def _array(layer: Any, kind: str = "weight") -> np.ndarray:
    return layer.get_parameter(kind).detach().float().cpu().contiguous().numpy()


def _dense(graph: Graph, name: str, layer: Any, rows: str, *, exact: bool = False) -> str:
    activation = graph.activations.get(layer)
    return graph.dense(rows, name, _array(layer), _array(layer, "bias"), exact=exact, activation=activation)


def _norm(graph: Graph, name: str, layer: Any, rows: str) -> str:
    return graph.norm(rows, name, _array(layer), _array(layer, "bias"), layer.eps)


def _embeddings(graph: Graph, model: AdaptiveForSequenceClassification) -> str:
    """Add word, position and type embeddings; the words' table in int8 where the products are."""
    embeddings = model.encoder.embeddings
    ids, positions = (graph.given(name, "INT64", ["tokens"]) for name in ("ids", "positions"))
    words = _array(embeddings.words)
    if graph.bits is None:
        rows = graph.add("Gather", graph.constant(words, "words"), ids)
    else:
        quantised, scales = per_channel(words)
        rows = graph.add("Gather", graph.constant(quantised, "words"), ids)
        scale = graph.add("Gather", graph.constant(scales[:, None], "words.scales"), ids)
        rows = graph.add("Mul", graph.add("Cast", rows, to=1), scale)
    rows = graph.add(
        "Add", rows, graph.add("Gather", graph.constant(_array(embeddings.positions), "places"), positions)
    )
    if embeddings.types is not None:
        types = graph.given("types", "INT64", ["tokens"])
        rows = graph.add("Add", rows, graph.add("Gather", graph.constant(_array(embeddings.types), "kinds"), types))
    rows = _norm(graph, "embeddings.norm", embeddings.norm, rows)
    if isinstance(embeddings.project, nn.Identity):
        return rows
    return _dense(graph, "embeddings.project", embeddings.project, rows, exact=True)


def _give_blocks(graph: Graph) -> None:
    """Declare what windowed attention in blocks is given: see `eat.deployment.blocks`."""
    graph.given("blocked", "BOOL", [])
    graph.given("block_queries", "INT64", ["blocks", "block_queries"])
    graph.given("block_keys", "INT64", ["blocks", "block_keys"])
    graph.given("block_mask", "FLOAT", ["blocks", 1, "block_queries", "block_keys"])
    graph.given("global_queries", "INT64", ["sequences", "globals"])
    graph.given("global_mask", "FLOAT", ["sequences", 1, "globals", "global_keys"])
    graph.given("block_places", "INT64", ["placed"])


def _block(
    graph: Graph, block: Any, backbone: Backbone, name: str, rows: str, *, received: bool, in_blocks: bool
) -> tuple[str, str | None]:
    """Add attention and feed-forward, each with residual and norm; return the rows, and what each received if asked."""
    qkv = _dense(graph, f"{name}.qkv", block.qkv, rows)
    mix = _explicit if received else _fused

    def gathered() -> list[str]:
        mixed = mix(graph, block, graph.add("Gather", qkv, "gather"), "mask")
        return [graph.add("Gather", graph.add("Reshape", part, shape), "scatter") for part, shape in mixed]

    def as_they_lie(mask: str | None = None) -> list[str]:
        mixed = mix(graph, block, graph.add("Reshape", qkv, "shape"), mask)
        return [graph.add("Reshape", part, shape) for part, shape in mixed]

    def choose(condition: str, then: Callable[[], list[str]], otherwise: Callable[[], list[str]]) -> list[str]:
        return graph.choose(condition, f"{name}.{condition}", then, otherwise, outputs=2 if received else 1)

    def hidden() -> list[str]:
        return choose("padded", gathered, lambda: as_they_lie("mask"))

    def whole() -> list[str]:
        return choose("grouped", hidden, as_they_lie)

    if in_blocks:
        mixed, *scores = graph.choose("blocked", f"{name}.blocks", lambda: [_blocks(graph, block, qkv)], whole)
    else:
        mixed, *scores = whole()
    mixed = _dense(graph, f"{name}.mixed", block.mixed, mixed)
    rows = _norm(graph, f"{name}.mixed_norm", block.mixed_norm, graph.add("Add", rows, mixed))
    operator, attributes = ACTIVATIONS[backbone.activation]
    inner = graph.add(operator, _dense(graph, f"{name}.inner", block.inner, rows), **attributes)
    outer = _dense(graph, f"{name}.outer", block.outer, inner)
    return _norm(graph, f"{name}.outer_norm", block.outer_norm, graph.add("Add", rows, outer)), scores[
        0
    ] if scores else None


def _fused(graph: Graph, block: Any, qkv: str, mask: str | None) -> list[tuple[str, str]]:
    """Add attention over a padded group in one operator; return what comes out and the shape of its rows."""
    sizes = graph.constant(np.array([block.mixed.in_features] * 3))
    q, k, v = graph.split("Split", qkv, sizes, outputs=3, axis=-1)
    if mask:
        mixed = _attend(graph, block, q, k, v, mask)
    else:
        width = graph.add("Gather", "shape", graph.constant(np.array(1)))
        (mixed,) = graph.choose(
            graph.add("GreaterOrEqual", width, graph.constant(np.array(LONG))),
            f"{qkv}.long",
            lambda: [graph.add("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=block.num_heads)],
            lambda: [_attend(graph, block, q, k, v)],
        )
    return [(mixed, graph.constant(np.array([-1, block.mixed.in_features])))]


def _attend(graph: Graph, block: Any, *given: str) -> str:
    """Add attention of queries to keys and values, each (batch, tokens, dim), and perhaps a mask."""
    return graph.add("Attention", *given, q_num_heads=block.num_heads, kv_num_heads=block.num_heads)


def _blocks(graph: Graph, block: Any, qkv: str) -> str:
    """Add attention of blocks of queries to the keys that they may see, then of global tokens to all."""
    sizes, shape = (
        graph.constant(np.array([block.mixed.in_features] * 3)),
        graph.constant(np.array([-1, block.mixed.in_features])),
    )
    q, k, v = graph.split("Split", qkv, sizes, outputs=3, axis=-1)
    parts = []
    for queries, keys, mask in (
        ("block_queries", "block_keys", "block_mask"),
        ("global_queries", "gather", "global_mask"),
    ):
        given = [graph.add("Gather", q, queries), *(graph.add("Gather", part, keys) for part in (k, v)), mask]
        parts.append(graph.add("Reshape", _attend(graph, block, *given), shape))
    return graph.add("Gather", graph.add("Concat", *parts, axis=0), "block_places")


def _explicit(graph: Graph, block: Any, qkv: str, mask: str | None) -> list[tuple[str, str]]:
    """Add attention by its parts, whose probabilities also say what each token received from live queries."""
    head_dim = block.mixed.in_features // block.num_heads
    sizes = graph.constant(np.array([block.mixed.in_features] * 3))
    heads = graph.constant(np.array([0, 0, block.num_heads, head_dim]))
    parts = [graph.add("Reshape", part, heads) for part in graph.split("Split", qkv, sizes, outputs=3, axis=-1)]
    q, v = (graph.add("Transpose", part, perm=[0, 2, 1, 3]) for part in (parts[0], parts[2]))
    k = graph.add("Transpose", parts[1], perm=[0, 2, 3, 1])
    scores = graph.add("Mul", graph.add("MatMul", q, k), graph.constant(np.float32(head_dim**-0.5)))
    weights = graph.add("Softmax", graph.add("Add", scores, mask) if mask else scores, axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", weights, v), perm=[0, 2, 1, 3])
    per_query = graph.add("ReduceMean", weights, graph.constant(np.array([1])), keepdims=0)
    graph.given("valid", "FLOAT", ["batch", "width", 1])
    received = graph.add("ReduceSum", graph.add("Mul", per_query, "valid"), graph.constant(np.array([1])), keepdims=0)
    return [
        (mixed, graph.constant(np.array([-1, block.mixed.in_features]))),
        (received, graph.constant(np.array([-1]))),
    ]


def _head(graph: Graph, model: AdaptiveForSequenceClassification, depth: int, rows: str) -> str:
    """Add pooling, dense layer, activation and classifier, in float32; they run where ``answer`` is True."""
    head, name = model.encoder.heads[str(depth)], f"head{depth}"
    mean = model.config.head_pooling(depth) == "mean"
    if mean:
        graph.given("share", "FLOAT", ["batch", "width", 1])
    else:
        graph.given("starts", "INT64", ["batch"])
    graph.given("answer", "BOOL", [])

    def answered() -> list[str]:
        if mean:
            shares = graph.add("Mul", graph.add("Gather", rows, "gather"), "share")
            pooled = graph.add("ReduceSum", shares, graph.constant(np.array([1])), keepdims=0)
        else:
            pooled = graph.add("Gather", rows, "starts")
        operator, attributes = ACTIVATIONS[model.backbone.head_activation]
        inner = graph.add(operator, _dense(graph, f"{name}.dense", head.dense, pooled, exact=True), **attributes)
        return [_dense(graph, f"{name}.out", head.out, inner, exact=True)]

    empty = np.zeros((0, model.config.num_outputs), dtype=np.float32)
    (logits,) = graph.choose("answer", name, answered, lambda: [graph.constant(empty, f"{name}.none")])
    return logits
