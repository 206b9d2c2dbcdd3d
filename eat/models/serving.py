"""How a classifier answers where speed counts: streams on full batches, compiled blocks, CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from eat.backbones.base import Backbone
from eat.models.encoder import AdaptiveEncoder
from eat.models.graphs import SegmentGraphs
from eat.models.inputs import pack_inputs
from eat.models.stream import Prediction, SurvivorPools
from eat.modules.block import Block
from eat.packed import AdaptiveOutput


class Serving(nn.Module):
    """What :class:`~eat.models.classifier.AdaptiveForSequenceClassification` adds to its encoder loop for serving.

    Attributes:
        backbone: Shape and limits.
        encoder: The loop.
    """

    backbone: Backbone
    encoder: AdaptiveEncoder
    _protected_id: int | None
    _graphs: SegmentGraphs | None = None

    def predict_stream(
        self, examples: Iterable[Mapping[str, Any]], batch_size: int = 32, *, max_in_flight: int | None = None
    ) -> Iterator[Prediction]:
        """Classify a stream at the highest throughput: full batches at every depth, though examples leave early.

        Who stays after an early head is pooled with the survivors of other batches. An example is answered as if it
        were alone, and answers come in the examples' order. They are read as answers are taken, at most
        ``max_in_flight`` ahead, so the stream may be infinite; do not change the model's parts meanwhile.

            encoded = (tokenizer(line, truncation=True) for line in open("reviews.txt"))
            for prediction in model.predict_stream(encoded):
                print(int(prediction.logits.argmax()), prediction.exit_depth)

        Args:
            examples: Mappings with ``input_ids`` (tokens,) and optionally ``token_type_ids`` (tokens,), as lists or 1-D
                tensors on the host, without padding.
            batch_size: Sequences of a full batch.
            max_in_flight: Most examples read and not yet answered, at least ``batch_size``: bounds memory and how long
                an answer may wait. Default: 4 batches for each head that runs.

        Returns:
            One :class:`~eat.models.stream.Prediction` per example: ``logits`` (classes,) on the model's device,
            ``exit_depth`` and ``tokens_kept``. It runs under ``torch.inference_mode``.

        Raises:
            ValueError: If an option is out of range; while iterating, when an example is read that has no
                ``input_ids``, is empty, padded or too long, or holds a number out of range: it is named.
            RuntimeError: In training mode.
        """
        pools = SurvivorPools(
            self.backbone,
            self.encoder,
            protected_id=self._protected_id,
            batch_size=batch_size,
            max_in_flight=max_in_flight,
        )
        return pools.predict(examples)

    def compile_blocks(self) -> None:
        """Compile what each block does to rows (all but the attention), once for all blocks and lengths.

        Answers stay the same within rounding, and a saved model is not affected. Meant for GPUs, where a block then
        takes fewer kernel launches (not measured). On a CPU it does not pay: matrix products take nearly all the time,
        and compiled code uses torch's own instead of oneDNN's. MiniLM-L6 on AMD EPYC, one thread, CPU time of plain
        over compiled: 0.48x at batch 1 with 25 tokens, 0.54x at batch 32 with 764; without oneDNN 0.94x and 1.00x.
        """
        for module in self.encoder.modules():
            if isinstance(module, Block):
                module.compiled = True

    def capture_graphs(self, max_length: int = 128) -> None:
        """Answer single sequences of up to ``max_length`` tokens from CUDA graphs; all other inputs run as before.

        For a service that gets one text at a time, where a GPU mostly waits for the host to launch the next kernel. The
        first sequence of each length is slow (it is recorded), later ones take one launch per head. Answers are the
        same. It acts in evaluation mode without gradients; one call at a time, for the recordings share memory. Weights
        may change in place; other parts or a moved model are recorded anew.

        Raises:
            ValueError: If the model is not on a CUDA device, ``max_length`` is out of range, or [SEP] is global: how
                many tokens stay would depend on the text.
        """
        device = self.encoder.embeddings.words.weight.device
        if device.type != "cuda":
            raise ValueError(f"capture_graphs: expected the model on a CUDA device, got {device}")
        if isinstance(max_length, bool) or not 1 <= max_length <= self.backbone.max_length:
            raise ValueError(f"max_length: expected 1 to {self.backbone.max_length}, got {max_length!r}")
        if self._protected_id is not None:
            raise ValueError("capture_graphs: expected attention.global_tokens ['cls'], got 'sep' among them")
        self._graphs = SegmentGraphs(max_length)

    def _run(
        self,
        input_ids: Int[Tensor, ...] | None,
        attention_mask: Tensor | None,
        token_type_ids: Int[Tensor, ...] | None,
        lengths: Int[Tensor, " batch"] | None,
        trace: bool,
        head_depths: tuple[int, ...] | None,
    ) -> AdaptiveOutput:
        graphs = self._graphs
        if graphs is not None and not trace and self._protected_id is None:
            output = graphs(self.backbone, self.encoder, input_ids, attention_mask, token_type_ids, lengths)
            if output is not None:
                return output
        state = pack_inputs(
            self.backbone,
            self.encoder.embeddings,
            input_ids,
            attention_mask,
            token_type_ids,
            lengths,
            protected_id=self._protected_id,
        )
        answer: AdaptiveOutput = self.encoder(state, trace=trace, head_depths=head_depths)
        return answer
