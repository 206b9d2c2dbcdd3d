"""Predict a stream of examples on full batches at every depth, though some exit early.

Plain batches shrink where sequences exit early, and late blocks run on what is left. Here the survivors of several
batches wait in their head's pool until as many have come together as a batch holds.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eat.backbones.base import Backbone
from eat.checks import whole_number
from eat.models.encoder import AdaptiveEncoder, SegmentExit, SegmentStart
from eat.models.examples import Example, end_to_end, read_example
from eat.models.inputs import Inputs, pack_inputs
from eat.packed import Packed

# What a stream may hold by default, in batches per segment: enough to fill late pools while the first example waits.
BATCHES_IN_FLIGHT = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What a stream answers to one example.

    Attributes:
        logits: Logits of the exit taken, on the model's device.
        exit_depth: Depth (1-based) at which the example exited.
        tokens_kept: One per depth and one before: entry 0 is what came in, entry d what was alive after depth d's
            pruning, 0 from the exit on.
    """

    logits: Float[Tensor, " classes"]
    exit_depth: int
    tokens_kept: tuple[int, ...]


class SurvivorPools:
    """Run a stream through the encoder's segments, each on a full batch wherever enough sequences wait for it.

    Args are those of ``AdaptiveForSequenceClassification.predict_stream``, and ``protected_id``, the id of the tokens
    that are protected besides [CLS].
    """

    def __init__(
        self,
        backbone: Backbone,
        encoder: AdaptiveEncoder,
        protected_id: int | None,
        batch_size: int,
        max_in_flight: int | None,
    ) -> None:
        self.backbone = backbone
        self.encoder = encoder
        self.protected_id = protected_id
        self.batch_size = whole_number("batch_size", batch_size)
        if max_in_flight is None:
            max_in_flight = BATCHES_IN_FLIGHT * batch_size * len(encoder.running_heads(trace=False))
        self.max_in_flight = whole_number("max_in_flight", max_in_flight, batch_size)
        self._check_mode()
        self._arrivals: deque[tuple[int, Example]] = deque()
        self._survivors: dict[int, deque[SegmentStart]] = defaultdict(deque)
        self._tokens_kept: dict[int, list[int]] = {}

    def predict(self, examples: Iterable[Mapping[str, Any]]) -> Iterator[Prediction]:
        """Answer the examples in their order."""
        incoming = enumerate(examples)
        answered: dict[int, Prediction] = {}
        arrived = handed_out = 0
        while True:
            for index, mapping in islice(incoming, self.max_in_flight - (arrived - handed_out)):
                self.add(index, mapping)
                arrived += 1
            if arrived == handed_out:
                return
            answered |= self.step()
            while handed_out in answered:
                # Counted before it goes out: the caller may never come back.
                handed_out += 1
                yield answered.pop(handed_out - 1)

    def __len__(self) -> int:
        """Count the examples that wait, in whatever pool."""
        return len(self._tokens_kept)

    def add(self, index: int, example: Any) -> None:
        """Let an example wait for the first segment: a mapping with ``input_ids``, and an index above those before.

        Raises:
            ValueError: If it is not as it must be: it is named by its index.
        """
        self._arrivals.append((index, read_example(example, index, self.backbone)))
        self._tokens_kept[index] = []

    @torch.inference_mode()
    def step(self, *, oldest_first: bool = False) -> dict[int, Prediction]:
        """Run one batch through one segment, and return by index what is answered with it, perhaps nothing.

        It is the deepest full pool's, where none is full the fullest one's; with ``oldest_first`` that of the pool
        whose first example is the oldest, which bounds how long one waits where examples come slowly.

        Raises:
            RuntimeError: In training mode.
            ValueError: If nothing waits.
        """
        self._check_mode()
        if not len(self):
            raise ValueError("step: expected examples that wait, got none; add some first")
        return self._collect(self.encoder.advance(self._next_batch(oldest_first), trace=False))

    def _next_batch(self, oldest_first: bool) -> SegmentStart:
        """Take the first examples of a pool: see `step`."""
        waiting = {0: len(self._arrivals)} | {depth: len(pool) for depth, pool in self._survivors.items()}
        if oldest_first:
            depth = min((depth for depth, count in waiting.items() if count), key=self._first_in)
        else:
            depth = max(waiting, key=lambda depth: (min(waiting[depth], self.batch_size), depth))
        count = min(waiting[depth], self.batch_size)
        if depth == 0:
            return SegmentStart(self._embed([self._arrivals.popleft() for _ in range(count)]))
        waited = [self._survivors[depth].popleft() for _ in range(count)]
        history = torch.cat([one.history for one in waited if one.history is not None], dim=1)
        return SegmentStart(Packed.join([one.state for one in waited]), depth, history)

    def _first_in(self, depth: int) -> int:
        """Return the index of the first example in a pool that is not empty."""
        return self._survivors[depth][0].state.example[0] if depth else self._arrivals[0][0]

    def _embed(self, arrivals: list[tuple[int, Example]]) -> Packed:
        indices, examples = zip(*arrivals, strict=True)
        embeddings = self.encoder.embeddings
        ids, types, lengths = end_to_end(examples, embeddings.words.weight.device)
        state = pack_inputs(
            self.backbone, embeddings, Inputs(ids, None, types, lengths), protected_id=self.protected_id
        )
        return dataclasses.replace(state, example=indices)

    def _collect(self, ended: SegmentExit) -> dict[int, Prediction]:
        """Return the answers of the sequences that exit and let the others wait."""
        answered = {}
        for lengths in ended.lengths:
            for index, length in zip(ended.example, lengths, strict=True):
                self._tokens_kept[index].append(length)
        for index, logits in zip(ended.leaving, ended.logits.unbind(), strict=True):
            kept = self._tokens_kept.pop(index)
            gone = [0] * (len(self.encoder.blocks) + 1 - len(kept))
            answered[index] = Prediction(logits, ended.depth, (*kept, *gone))
        if ended.staying is not None and ended.staying.history is not None:
            histories = ended.staying.history.split(1, dim=1)
            for state, history in zip(ended.staying.state.split(), histories, strict=True):
                self._survivors[ended.depth].append(SegmentStart(state, ended.depth, history))
        return answered

    def _check_mode(self) -> None:
        if self.encoder.training:
            raise RuntimeError("predict_stream: expected the model in evaluation mode; call model.eval() first")
