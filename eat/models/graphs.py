"""Record and replay CUDA graphs for single sequences: at batch 1 a GPU waits for launches, a recording is one.

What the encoder does between two heads depends on a sequence's length alone (keep counts follow from lengths), so each
segment is recorded once per exact length, without padding, and replayed on new tokens. The host reads one bit per early
head: whether the sequence exits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from eat.backbones.base import Backbone
from eat.checks import shown
from eat.models.encoder import AdaptiveEncoder, SegmentEnd, SegmentStart
from eat.models.inputs import Inputs, pack_inputs
from eat.packed import AdaptiveOutput

T = TypeVar("T")
Run = Callable[[], Any]

# Input shapes whose recordings are held, the last used ones; each is a few small tensors and the driver's graphs.
SHAPES_HELD = 128
# Runs before a recording: libraries set themselves up in the first ones, which cannot be recorded.
WARM_UPS = 3


class CudaRecorder:
    """Record what a function launches; all recordings share one pool of memory, so only one may run at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], T]) -> tuple[T, Run]:
        """Return what ``run`` returned, in tensors that stay where they are, and what computes them anew."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = run()
        return result, graph.replay


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One recorded segment."""

    replay: Run
    here: SegmentEnd  # where it ends; its tensors must live, for the next step reads them
    leave: Bool[Tensor, " 1"] | None  # whether the sequence exits; None at the last head
    output: AdaptiveOutput  # the answer if it does; its logits are overwritten by the next replay


class RecordedShape:
    """The encoder, in evaluation mode, on one sequence of one length, step by step.

    Of the ``input_ids``, (tokens,) or (1, tokens), only shape and device matter; ``record`` is a `CudaRecorder`.
    """

    def __init__(
        self, backbone: Backbone, encoder: AdaptiveEncoder, input_ids: Int[Tensor, " ..."], record: Callable[[Run], Any]
    ) -> None:
        self._backbone = backbone
        self._encoder = encoder
        self._ids = torch.zeros_like(input_ids, dtype=torch.int64)
        self._types = torch.zeros_like(self._ids)
        self._lengths = None if input_ids.ndim == 2 else torch.tensor([input_ids.numel()])
        self.steps: list[Step] = []
        tokens_kept = [0] * (len(encoder.blocks) + 1)
        here: SegmentEnd | None = None
        while here is None or here.depth < len(encoder.blocks):
            (here, leave), replay = record(functools.partial(self._segment, here))
            replay()  # recording computed nothing, and the next segment's warm-up reads these tensors
            for depth, (length,) in enumerate(here.lengths, start=here.depth - len(here.lengths)):
                tokens_kept[depth] = length
            output = AdaptiveOutput(
                logits=here.history[-1],
                exit_depth=torch.tensor([here.depth], device=input_ids.device),
                tokens_kept=torch.tensor([tokens_kept], device=input_ids.device),
            )
            self.steps.append(Step(replay, here, leave, output))

    def _segment(self, before: SegmentEnd | None) -> tuple[SegmentEnd, Tensor | None]:
        """Run to the next head; return its state and, at an early one, whether the sequence exits."""
        encoder = self._encoder
        heads = encoder.running_heads(trace=False)
        if before is None:
            inputs = Inputs(self._ids, None, self._types, self._lengths)
            start = SegmentStart(pack_inputs(self._backbone, encoder.embeddings, inputs, protected_id=None))
        else:
            # A mask left over from another run would hold that run's positions.
            start = SegmentStart(before.state.uncached(), before.depth, before.history)
        here = encoder.to_head(start, heads)
        return here, None if here.depth == len(encoder.blocks) else encoder.leaving(here.history)

    def answer(self, input_ids: Int[Tensor, " ..."], token_type_ids: Int[Tensor, " ..."] | None) -> AdaptiveOutput:
        """Replay step after step until the sequence exits."""
        self._ids.copy_(input_ids)
        if token_type_ids is None:
            self._types.zero_()
        else:
            self._types.copy_(token_type_ids)
        for step in self.steps:
            step.replay()
            if step.leave is None or bool(step.leave):
                break
        return AdaptiveOutput(**{name: value.clone() for name, value in step.output.items()})


class SegmentGraphs:
    """Recordings of the input shapes seen last, up to ``max_length``; made when a shape comes for the first time."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._record: Callable[[Run], Any] | None = None
        self._recorded: OrderedDict[tuple[int, ...], RecordedShape] = OrderedDict()
        self._made_for: tuple[Any, ...] = ()

    @classmethod
    def prepare(
        cls, backbone: Backbone, encoder: AdaptiveEncoder, protected_id: int | None, max_length: int
    ) -> SegmentGraphs:
        """Check that a model's segments can be recorded, as ``capture_graphs`` says; nothing is recorded yet."""
        device = encoder.embeddings.words.weight.device
        if device.type != "cuda":
            raise ValueError(f"capture_graphs: expected the model on a CUDA device, got {device}")
        if isinstance(max_length, bool) or not 1 <= max_length <= backbone.max_length:
            raise ValueError(f"max_length: expected 1 to {backbone.max_length}, got {shown(max_length)}")
        if protected_id is not None:
            raise ValueError("capture_graphs: expected attention.global_tokens ['cls'], got 'sep' among them")
        return cls(max_length)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the recordings, which read the weights of the model that they were made for."""
        return SegmentGraphs, (self.max_length,)

    def __call__(self, backbone: Backbone, encoder: AdaptiveEncoder, inputs: Inputs) -> AdaptiveOutput | None:
        """Answer a single unpadded sequence, in inference on CUDA; None for any other input, what is wrong included."""
        input_ids = inputs.input_ids
        if (
            not isinstance(input_ids, Tensor)
            or not 1 <= input_ids.numel() <= self.max_length
            or not can_replay(encoder, input_ids.device)
            or not is_single(inputs)
        ):
            return None
        # Tensors made in inference mode could not be written to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            self._forget_if_changed(encoder)
            shape = tuple(input_ids.shape)
            if shape not in self._recorded:
                self._record = self._record or CudaRecorder()
                self._recorded[shape] = RecordedShape(backbone, encoder, input_ids, self._record)
                if len(self._recorded) > SHAPES_HELD:
                    self._recorded.popitem(last=False)
            self._recorded.move_to_end(shape)
            return self._recorded[shape].answer(input_ids, inputs.token_type_ids)

    def _forget_if_changed(self, encoder: AdaptiveEncoder) -> None:
        """Drop recordings made for other parts or temperatures, or weights elsewhere; new values in place are read."""
        weight = encoder.embeddings.words.weight
        attentions = (block.attention for block in encoder.blocks)
        parts = (encoder.pruner, encoder.pruner.scale, encoder.exit_criterion, encoder.blocks[0].compiled, *attentions)
        # Numbers on the host: a recording holds them as they were.
        temperatures = (head.temperature for head in encoder.heads.values())
        made_for = (*parts, *temperatures, weight.data_ptr(), weight.dtype)
        if made_for != self._made_for:
            self._recorded.clear()
            self._made_for = made_for


def can_replay(encoder: AdaptiveEncoder, device: torch.device) -> bool:
    """Return whether a recording may answer: in evaluation, without gradients or autocast, all on one CUDA device."""
    weight = encoder.embeddings.words.weight
    recordable = weight.is_cuda and weight.device == device
    return recordable and not (encoder.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cuda"))


def is_single(inputs: Inputs) -> bool:
    """Return whether the input is one sequence without padding, looking at the device only where a mask is given."""
    input_ids, attention_mask, token_type_ids, lengths = inputs
    tensors = all(isinstance(one, Tensor | None) for one in (attention_mask, token_type_ids))
    if input_ids is None or not tensors or (token_type_ids is not None and token_type_ids.shape != input_ids.shape):
        return False
    if lengths is not None:
        on_host = lengths.device.type == "cpu" and attention_mask is None
        return on_host and input_ids.ndim == 1 and lengths.tolist() == [input_ids.numel()]
    if input_ids.ndim != 2 or input_ids.shape[0] != 1:
        return False
    return attention_mask is None or (attention_mask.shape == input_ids.shape and bool(attention_mask.all()))
