"""Read what every text looks like at the taps of an encoder, pooled, and what the model answers at full depth."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from eat.benchmark.engines import Encoded
from eat.benchmark.protocol import batches_of
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.examples import end_to_end, read_example
from eat.models.inputs import Inputs
from eat.models.rules import Tap
from eat.modules.heads import POOLINGS
from eat.packed import Packed

Place = tuple[Tap, str]
"""A tap and a pooling."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tapped:
    """Examples as a model sees them."""

    pooled: Mapping[Place, Float[np.ndarray, "examples dim"]]  # float32
    answers: Int[np.ndarray, " examples"]  # class at full depth


def tap_examples(
    model: AdaptiveForSequenceClassification, examples: Sequence[Encoded], taps: Collection[Tap], batch_size: int = 64
) -> Tapped:
    """Run examples to full depth, pruned as the model prunes, and pool the rows at some taps in every way."""
    encoder = model.encoder
    pooled: dict[Place, list[np.ndarray]] = defaultdict(list)
    answers = []

    def visit(tap: Tap, state: Packed) -> Packed:
        for name, pool in POOLINGS.items() if tap in taps else ():
            pooled[tap, name].append(pool(state).float().cpu().numpy())
        return state

    with torch.inference_mode():
        for batch in batches_of(examples, batch_size):
            ids, types, lengths = end_to_end(
                [read_example(example, place, model.backbone) for place, example in enumerate(batch)], model.device
            )
            last = encoder.walk(model.embedded(Inputs(ids, None, types, lengths)), visit, model.num_layers)
            assert last is not None  # the visit lets every sequence go on
            logits = encoder.heads(encoder.read_by_heads(last), model.num_layers)
            answers.append(logits.argmax(1).cpu().numpy())
    return Tapped({place: np.concatenate(parts) for place, parts in pooled.items()}, np.concatenate(answers))
