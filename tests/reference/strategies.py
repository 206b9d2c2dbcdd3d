"""Hypothesis strategies over what may be configured and what may come in."""

from typing import Any

from hypothesis import strategies as st

from tests.reference.tiny import MODEL_TYPES

NUM_LAYERS = 3

model_types = st.sampled_from(MODEL_TYPES)
poolings = st.sampled_from(["cls", "mean"])
layouts = st.sampled_from(["right", "left", "holes"])
lengths = st.lists(st.integers(1, 22), min_size=1, max_size=6)
seeds = st.integers(0, 2**32 - 1)

attentions: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"name": "full"}),
    st.builds(
        lambda half, tokens: {"name": "windowed", "window": 2 * half, "global_tokens": tokens},
        st.integers(1, 6),
        st.sampled_from([["cls"], ["cls", "sep"]]),
    ),
)


@st.composite
def pruners(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(["none", "l2_norm", "attention_received", "random"]))
    if name == "none":
        return {"name": name}
    depths = draw(st.lists(st.integers(1, NUM_LAYERS - 1), min_size=1, unique=True).map(sorted))
    ratios = st.floats(0, 0.95)
    spec = {
        "name": name,
        "depths": depths,
        "ratio": draw(st.one_of(ratios, st.lists(ratios, min_size=len(depths), max_size=len(depths)))),
        "min_tokens": draw(st.integers(0, 3)),
        "min_retention": draw(st.sampled_from([0.0, 0.5, 1.0])),
    }
    return spec | ({"seed": draw(st.integers(0, 5))} if name == "random" else {})


# Thresholds around what the tiny random heads say, so that some leave and some stay; irregular, so that nothing ties.
plain_exits: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"name": "never"}),
    st.sampled_from([0.4171, 0.5237, 0.6613, 0.8119]).map(lambda t: {"name": "confidence", "threshold": t}),
    st.sampled_from([0.3719, 0.6253, 0.8317, 0.9413]).map(lambda t: {"name": "entropy", "threshold": t}),
    st.sampled_from([0.0517, 0.2339, 0.5171, 0.8123]).map(lambda t: {"name": "margin", "threshold": t}),
    st.builds(
        lambda p, t: {"name": "patience", "patience": p, "threshold": t},
        st.integers(1, 2),
        st.sampled_from([None, 0.5431]),
    ),
    st.just({"name": "patience_confidence", "patience": 2, "threshold": 0.4571}),
    st.sampled_from([0.0517, 0.5119]).map(lambda t: {"name": "entropy_reduction", "threshold": t}),
    st.sampled_from([0.3719, 0.5431]).map(lambda t: {"name": "agreement", "threshold": t}),
)
exits = st.builds(
    lambda spec, veto: spec if veto is None or spec["name"] == "never" else spec | {"veto_margin": veto},
    plain_exits,
    st.sampled_from([None, 0.2917]),
)
