"""The Hugging Face model around the encoder loop."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from eat.attention import Attention, build_attention
from eat.attention.grouped import GroupedAttention
from eat.backbones import build_backbone
from eat.backbones.loading import load_backbone, to_hugging_face
from eat.checks import number, one_of, plain, shown, whole_number
from eat.exits import ExitCriterion, build_exit
from eat.models import certificate
from eat.models.adapters import HeadsByAlias
from eat.models.binary import why_not_quantized
from eat.models.config import AdaptiveConfig, head_options
from eat.models.cost import CostModel
from eat.models.encoder import AdaptiveEncoder
from eat.models.fingerprint import model_fingerprint
from eat.models.graphs import SegmentGraphs
from eat.models.inputs import Inputs, pack_inputs, read_lengths, refuse
from eat.models.quantization import (
    GAINS,
    check_source,
    convert_layers,
    engine_config,
    pack_layers,
    refuse_place,
    why_not,
)
from eat.models.rules import SufficientRule, rules_config
from eat.models.saving import CheckedWeights
from eat.models.stream import Prediction, SurvivorPools
from eat.modules.block import Block
from eat.modules.heads import Head
from eat.modules.linear import arrange_weights
from eat.ops.labels import one_per_example, read_label_sets
from eat.ops.losses import EARLY_WEIGHT, FINAL_WEIGHT, answer_loss, draw_answers, joint_loss
from eat.packed import AdaptiveOutput, Packed
from eat.pruners import Pruner, build_pruner

log = logging.getLogger(__name__)


class AdaptiveForSequenceClassification(HeadsByAlias, CheckedWeights):
    """Text classifier in which tokens are pruned and sequences exit early (EAT, arXiv:2510.12856).

    Build it with `from_backbone` from a Hugging Face encoder, or load a saved one with `from_pretrained`.
    A certified one gives its certificate up where that no longer holds: see `eat.models.certificate`.

    Args:
        config: What `from_backbone` writes.
    """

    config_class = AdaptiveConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    config: AdaptiveConfig
    _graphs: SegmentGraphs | None = None
    _packed = False
    frozen_weights: dict[str, Any] | None = None
    """What a configuration's ``weights`` will be again once heads are trained on an encoder that stays as it is."""

    def __init__(self, config: AdaptiveConfig) -> None:
        super().__init__(config)
        self.model_tags = ["eat", "early-exit"]  # which push_to_hub writes on the card
        self.register_load_state_dict_post_hook(certificate.weights_replaced)
        config.check()
        if config.problem_type is None and config.num_outputs == 1:
            config.problem_type = "regression"  # as Hugging Face's at the first loss; a pipeline then gives the score
        self.backbone = build_backbone(config.backbone or {})
        attention = self._built_attention(config.attention or {})
        embeddings = self.backbone.embeddings()
        self.encoder = AdaptiveEncoder(
            embeddings,
            self.backbone.blocks(attention, embeddings),
            {d: self.backbone.head(config.num_outputs, config.head_pooling(d)) for d in (config.heads or {})["depths"]},
            build_pruner(config.pruner or {}),
            build_exit(config.exit or {}),
            self.backbone.final_norm(),
            multi_label=config.multi_label,
        )
        self.encoder.rules = config.built_rules()
        self._protect(attention)
        self._divide_logits()
        self.post_init()
        if config.engine is not None:
            convert_layers(self.encoder, config.engine)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        labels: Tensor | None = None,
        trace: bool = False,
        head_depths: Sequence[int] | None = None,
        return_dict: bool | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> AdaptiveOutput | tuple[Any, ...]:
        """Classify a batch.

        In training mode ``loss`` is EAT's joint loss over all heads. For losses that are computed elsewhere (label
        smoothing or class weights in the Hugging Face Trainer), ``logits`` are there those of one head per example,
        drawn with the joint loss's weights: whatever the loss, it trains every head, in expectation as the joint loss
        would. ``all_logits`` has every head's; with ``trace`` or ``head_depths`` nothing is drawn.

        Args:
            input_ids: (batch, width) padded, or (tokens,) packed end to end with ``lengths``; int64 or int32.
            attention_mask: (batch, width), 1 or True on real tokens; default all. Not for packed input.
            token_type_ids: Shaped like ``input_ids``; default 0.
            lengths: (batch,) or (batch, 1), or a list: tokens of each sequence of a packed input.
            labels: (batch,) or (batch, 1), class indices, or real values for regression; for a multi-label model
                (batch, labels), 0 or 1, of any dtype; ``loss`` is then given.
            trace: Run every head, without early exits; ``all_logits`` is then given. Implied in training mode.
            head_depths: Trace these heads alone, in ascending order; blocks behind the last of them do not run either.
            return_dict: False gives a tuple.
            inputs_embeds: Not supported.
            output_attentions: Not supported.
            output_hidden_states: Not supported.

        Raises:
            ValueError: If an argument is missing, misshapen, out of range or not supported.
        """
        refuse(
            inputs_embeds=inputs_embeds, output_attentions=output_attentions, output_hidden_states=output_hidden_states
        )
        traced = None if head_depths is None else self.encoder.checked_depths(head_depths)
        asked = trace or traced is not None
        trace = asked or self.training
        lengths = None if lengths is None else read_lengths(lengths)
        inputs = Inputs(input_ids, attention_mask, token_type_ids, lengths)
        output: AdaptiveOutput | None = None
        if self._graphs is not None and not trace and self._protected_id is None and self.encoder.rules is None:
            output = self._graphs(self.backbone, self.encoder, inputs)
        if output is None:
            output = cast(AdaptiveOutput, self.encoder(self.embedded(inputs), trace=trace, head_depths=traced))
        changes: dict[str, Tensor] = {}  # assigned to the output later, a loss would come last
        if labels is not None:
            changes["loss"] = self._loss(output, labels, traced or self.head_depths)
        if self.training and not asked and output.all_logits is not None:
            changes["logits"] = draw_answers(output.all_logits, self._joint_weights(self.head_depths))
        output = dataclasses.replace(output, **changes) if changes else output
        if return_dict if return_dict is not None else self.config.return_dict:
            return output
        return output.to_tuple()

    def embedded(self, inputs: Inputs) -> Packed:
        """Check a batch and embed it: what the encoder's loop starts from."""
        return pack_inputs(self.backbone, self.encoder.embeddings, inputs, protected_id=self._protected_id)

    def _loss(self, output: AdaptiveOutput, labels: Tensor, head_depths: Sequence[int]) -> Float[Tensor, ""]:
        assert output.logits is not None
        if self.config.multi_label:
            labels = read_label_sets(labels, *output.logits.shape)
        else:
            labels = one_per_example("labels", labels, len(output.logits))
        if self.training and output.all_logits is not None:
            return joint_loss(output.all_logits, labels, self._joint_weights(head_depths))
        return answer_loss(output.logits, labels)

    def _joint_weights(self, head_depths: Sequence[int]) -> list[float]:
        """Return EAT's lambda of each head in equation 1."""
        return [FINAL_WEIGHT if depth == self.num_layers else EARLY_WEIGHT for depth in head_depths]

    @classmethod
    def from_backbone(
        cls,
        backbone: str | Path | PreTrainedModel | PreTrainedConfig,
        *,
        num_labels: int | None = None,
        num_layers: int | None = None,
        attention: Mapping[str, Any] | None = None,
        pruner: Mapping[str, Any] | None = None,
        exit: Mapping[str, Any] | None = None,
        head_depths: Sequence[int] | str | None = None,
        head_pooling: str | None = None,
        final_head_pooling: str | None = None,
        max_length: int | None = None,
        sep_token_id: int | None = None,
        feed_forward: str = "dense",
        id2label: Mapping[int, str] | None = None,
        problem_type: str | None = None,
        seed: int | None = None,
    ) -> AdaptiveForSequenceClassification:
        """Put a Hugging Face encoder's weights into an adaptive classifier; without options it is the plain model.

        Args:
            backbone: A hub name, a local folder, a loaded model, or a config (then all weights are random). A model may
                be one of ours: its encoder and last head are taken, without the heads and neurons that were removed;
                whatever else it has is as the options say.
            num_labels: Classes or labels, 1 for regression; default: what a fine-tuned checkpoint has, else 2.
            num_layers: Keep the first so many layers; default all.
            attention: ``{"name": "full"}`` or ``{"name": "windowed", "window": 32, ...}``.
            pruner: ``{"name": "l2_norm", "depths": [2, 4], "ratio": 0.3}``, ...; default none.
            exit: ``{"name": "confidence", "threshold": 0.9}``, ...; default never.
            head_depths: Depths with an exit head, or "all"; the last is added. Default: all where some can exit, else
                the last.
            head_pooling: "cls" or "mean" (over the tokens still alive). Default: what the checkpoint's own head reads,
                which is [CLS] but for what `to_hugging_face` wrote of a model whose last head reads the mean.
            final_head_pooling: What a fine-tuned checkpoint's own head was trained to read, where the early heads may
                read otherwise; it is then kept as it is. Default: ``head_pooling``, and a checkpoint's own head is kept
                where it reads that.
            max_length: Longest input; a longer position table than the checkpoint's is made by tiling it.
            sep_token_id: The separator's id where it is global and the checkpoint's config does not say.
            feed_forward: "dense", or "learn_forget" for gates in the place of every block's feed-forward, which start
                from random weights (`eat.modules.learn_forget`).
            id2label: Names of the labels.
            problem_type: Hugging Face's key; "regression" for one real-valued label, "multi_label_classification" for
                labels of which a text may have any number.
            seed: Seed of the weights that start random; default: torch's global generator.

        Raises:
            ValueError: If the checkpoint is no known encoder, or an option is out of range.
        """
        source = load_backbone(
            backbone,
            num_layers=num_layers,
            max_length=max_length,
            sep_token_id=sep_token_id,
            feed_forward=feed_forward,
        )
        head_pooling = head_pooling or source.head_reads
        if source.head_reads == "mean" and final_head_pooling == "cls":
            raise ValueError("final_head_pooling: this checkpoint's own head reads the mean, got 'cls'; leave it out")
        exit_spec, last = plain(exit or {"name": "never"}), source.backbone.num_layers
        config = AdaptiveConfig(
            backbone=source.spec,
            attention=plain(attention or {"name": "full"}),
            pruner=plain(pruner or {"name": "none"}),
            exit=exit_spec,
            heads=head_options(head_depths, last, build_exit(exit_spec).active, head_pooling, final_head_pooling),
            **source.labels(num_labels, id2label, problem_type),
        )
        with torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(whole_number("seed", seed, at_least=0))
            model = cls(config)
        keep_head = final_head_pooling is not None or head_pooling == source.head_reads
        random_parts = source.fill(model.encoder, num_labels=config.num_outputs, keep_head=keep_head)
        if source.left is not None:  # what was removed came back as zeros, behind what is left
            model.keep_in_blocks(*([range(count) for count in source.left[key][:last]] for key in ("heads", "neurons")))
        arrange_weights(model)
        if random_parts:
            names = ", ".join(random_parts)
            log.info("from_backbone: these parts start from random weights and need training: %s", names)
        return model.eval()

    def quantize(
        self, numbers: str = "int8", *, activation_bits: int | None = None, anyway: bool = False
    ) -> AdaptiveForSequenceClassification:
        """Return a copy for inference on a CPU with int8 or bfloat16 weights; this model stays as it is.

        Answers differ a little: a certificate ends, temperatures and thresholds should be chosen anew. It is saved and
        loaded like any model.

        Args:
            numbers: "int8", a quarter of the size: each output channel has a scale, and each row its own while it runs,
                so that an answer never depends on its batch; norms and attention compute in float32. Or "bf16", for
                processors with instructions for bfloat16 (AMX, AVX512-BF16): dense layers and attention of the blocks
                compute in it, with sums in float32; what passes from block to block, and heads, stay float32. It errs
                ten times less than int8.
            activation_bits: Of a row in int8 products, 7 or 8; None for what this processor computes exactly. Give 7
                for a server without VNNI that a model is trained, traced or certified for on another machine.
            anyway: Convert even where a measurement shows no gain on this machine; else that is said in one line, and
                the copy stays in float32.

        Raises:
            ValueError: If there are no such numbers or bits, or the model is not float32 on a CPU, has adapters or
                binary weights, or was made for inference before.
        """
        one_of("quantize", numbers, GAINS)
        if (binary := why_not_quantized(self)) is not None:
            raise ValueError(f"quantize: {binary}; use the model as it is")
        check_source(self, "quantize")
        engine = engine_config(numbers, activation_bits)
        twin = copy.deepcopy(self).eval()
        reason = None if anyway else why_not(numbers)
        if reason is not None:
            log.warning("quantize: %s; the model stays in float32 (anyway=True converts it all the same)", reason)
            return twin
        certificate.withdraw(twin, f"its weights were quantised to {numbers}")
        twin.config.engine = engine
        convert_layers(twin.encoder, engine)
        twin.set_attention(**(twin.config.attention or {}))
        twin.requires_grad_(False)
        return twin

    def pack(self) -> AdaptiveForSequenceClassification:
        """Return a copy for inference on a CPU with its float32 dense layers as oneDNN reads them fastest.

        Answers stay the same within rounding, and it is saved as any float32 model. Its weights must not be changed:
        the packed ones are a second copy, made at the first call.

        Raises:
            ValueError: If the model is not float32 on a CPU, has adapters, or was made for inference before.
        """
        check_source(self, "pack")
        twin = copy.deepcopy(self).eval()
        pack_layers(twin.encoder)
        twin._packed = True
        return twin.requires_grad_(False)

    def _refuse_if_made_for_inference(self, what: str) -> None:
        if self._packed or self.config.engine is not None or self.config.weights is not None:
            made = "packed" if self._packed else (self.config.engine or {"name": "binary"})["name"]
            raise RuntimeError(f"{what}: this model is {made}, for inference only; use the float32 model instead")

    def keep_in_blocks(self, heads: Sequence[Sequence[int]], neurons: Sequence[Sequence[int]]) -> None:
        """Remove attention heads and feed-forward neurons for good, in place: matrices get smaller, and so does work.

        Answers are those of a model in which what reads them is zero. The configuration says what is left.

        Args:
            heads: For each block the heads that stay, counted from 0 and ascending; one at least.
            neurons: For each block the neurons of the feed-forward that stay, likewise.

        Raises:
            ValueError: If the backbone's blocks cannot differ, or a list does not fit.
            RuntimeError: If the model is made for inference.
        """
        self._refuse_if_made_for_inference("keep_in_blocks")
        blocks = [cast(Block, block) for block in self.encoder.blocks]
        for name, kept, there in (
            ("heads", heads, [block.num_heads for block in blocks]),
            ("neurons", neurons, [block.inner_size for block in blocks]),
        ):
            fits = len(kept) == len(there) and all(
                len(some) > 0 and sorted({*some}) == list(some) and some[0] >= 0 and some[-1] < number
                for some, number in zip(kept, there, strict=True)
            )
            if not fits:
                raise ValueError(
                    f"{name}: expected {len(there)} ascending lists of numbers below {there}, got {shown(kept)}"
                )
        left = {"block_heads": [len(some) for some in heads], "block_inner": [len(some) for some in neurons]}
        self._set_part("backbone", (self.config.backbone or {}) | left)
        self.backbone = build_backbone(self.config.backbone or {})
        for block, of_heads, of_neurons in zip(blocks, heads, neurons, strict=True):
            block.keep(of_heads, of_neurons)

    @property
    def num_layers(self) -> int:
        """Blocks of the encoder."""
        return self.backbone.num_layers

    @property
    def head_depths(self) -> tuple[int, ...]:
        """Depths with a head, the last one included."""
        return self.encoder.head_depths

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of word embeddings."""
        return self.encoder.embeddings.words

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Use another table of word embeddings; the vocabulary of the configuration follows its size."""
        self._refuse_if_made_for_inference("set_input_embeddings")
        self.encoder.embeddings.words = value
        if value.num_embeddings != self.backbone.vocab_size:
            self._set_part("backbone", {**(self.config.backbone or {}), "vocab_size": value.num_embeddings})
            self.backbone = build_backbone(self.config.backbone or {})
        else:
            certificate.withdraw(self, "other word embeddings were set")

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> Any:
        """Resize the table of words, as Hugging Face does."""
        self._refuse_if_made_for_inference("resize_token_embeddings")
        return super().resize_token_embeddings(*args, **kwargs)

    def add_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Add an adapter of peft's, as Hugging Face does."""
        self._refuse_if_made_for_inference("add_adapter")
        super().add_adapter(*args, **kwargs)

    def flops(
        self, tokens_kept: Int[Tensor, "batch columns"], exit_depth: Int[Tensor, " ..."]
    ) -> Float[Tensor, " batch"]:
        """Return the FLOPs of the work executed for each example of an output."""
        cost = CostModel(self.config).executed(
            tokens_kept.cpu().numpy(),
            one_per_example("exit_depth", exit_depth, len(tokens_kept)).cpu().numpy(),
            early_heads=self.exit_criterion.active,
        )
        return torch.from_numpy(cost)

    def dense_flops(self, lengths: Int[Tensor, " ..."]) -> Float[Tensor, " batch"]:
        """Return the FLOPs that unpadded, dense, unpruned full depth would take for each length."""
        return torch.from_numpy(CostModel(self.config).dense(read_lengths(lengths).cpu().numpy()))

    def to_hugging_face(self) -> PreTrainedModel:
        """Return a plain Hugging Face classifier that answers as this one does without pruning, window and exits.

        Where the last head reads [CLS] it is Hugging Face's own class. Where it reads the mean there is none: it is a
        `eat.backbones.mean_pooled.MeanPooledForSequenceClassification`, Hugging Face's own encoder with that
        head. It is saved and loaded like any other; loading it through Auto classes needs ``import eat``. Removed heads
        and neurons are zeros there.

        Raises:
            ValueError: If Hugging Face's encoder cannot have this shape.
            RuntimeError: If the weights are int8 or bfloat16.
        """
        if self.config.engine is not None:
            self._refuse_if_made_for_inference("to_hugging_face")
        if self.backbone != self.backbone.whole:
            log.info(
                "to_hugging_face: heads and neurons that were removed are zeros there: the same answers, no faster"
            )
        return to_hugging_face(self.backbone, self.encoder, self.config)

    @property
    def pruner(self) -> Pruner:
        """The pruner in use."""
        return self.encoder.pruner

    @property
    def exit_criterion(self) -> ExitCriterion:
        """The exit criterion in use."""
        return self.encoder.exit_criterion

    def set_exit(self, **spec: Any) -> None:
        """Choose another operating point of the same weights: ``set_exit(name="patience", patience=1)``.

        A certificate is about its own point only: it goes when another is chosen.
        """
        self._set_part("exit", spec)
        self.encoder.exit_criterion = build_exit(spec)

    @property
    def rules(self) -> tuple[SufficientRule, ...]:
        """The sufficient rules in use, in the order in which sequences meet them."""
        return () if self.encoder.rules is None else self.encoder.rules.rules

    def set_rules(self, rules: Iterable[SufficientRule] | None) -> None:
        """Let sequences exit before the first head where a rule fires (`eat.models.rules`); None removes the rules.

        They are saved with the model. A certificate is about the model without them, and ends.

        Raises:
            ValueError: If a rule does not suit the model, or does not come before the first head that runs.
        """
        rules = tuple(rules or ())
        if not rules and self.config.rules is None:
            return
        fitted = rules_config(rules, model_fingerprint(self)) if rules else None
        self.config.change("rules", fitted)
        if rules:
            certificate.end(self, "sufficient rules were added")
        self.encoder.rules = self.config.built_rules()

    def set_pruner(self, **spec: Any) -> None:
        """Choose another pruner or another schedule for the same weights."""
        self._set_part("pruner", spec)
        self.encoder.pruner = build_pruner(spec)

    def set_attention(self, **spec: Any) -> None:
        """Choose another attention for the same weights."""
        self._set_part("attention", spec)
        attention = self._built_attention(spec)
        parts = self.backbone.attentions(attention, self.encoder.embeddings)
        for block, part in zip(self.encoder.blocks, parts, strict=True):
            cast(Block, block).attention = part
        self._protect(attention)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """What divides the logits of each head, by ascending depth; 1 where they are left as they are."""
        return tuple((self.config.heads or {}).get("temperatures") or [1.0] * len(self.encoder.head_depths))

    def set_temperatures(self, temperatures: Sequence[float] | None) -> None:
        """Divide each head's logits by a temperature, before any criterion sees them; None leaves all as they are."""
        heads = {key: value for key, value in (self.config.heads or {}).items() if key != "temperatures"}
        self._set_part("heads", heads if temperatures is None else heads | {"temperatures": plain(temperatures)})
        self._divide_logits()

    def set_pruning_scale(self, scale: float) -> None:
        """Multiply the pruner's ratios by a number in [0, 1]: how training anneals them."""
        scale = number("scale", scale, at_least=0, at_most=1)
        if scale != self.encoder.pruner.scale:
            certificate.withdraw(self, f"its pruning was scaled by {scale}")
        self.encoder.pruner.scale = scale

    def predict_stream(
        self, examples: Iterable[Mapping[str, Any]], batch_size: int = 32, *, max_in_flight: int | None = None
    ) -> Iterator[Prediction]:
        """Classify a stream at the highest throughput: full batches at every depth, though examples exit early.

        What stays after an early head is pooled with the survivors of other batches. An example is answered as if it
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
            One `eat.models.stream.Prediction` per example: ``logits`` (classes,) on the model's device,
            ``exit_depth`` and ``tokens_kept``. It runs under ``torch.inference_mode``.

        Raises:
            ValueError: If an option is out of range; while iterating, when an example is read that has no
                ``input_ids``, is empty, padded or too long, or holds a number out of range: it is named.
            RuntimeError: In training mode, or if the model has sufficient rules.
        """
        return self.survivor_pools(batch_size, max_in_flight=max_in_flight).predict(examples)

    def survivor_pools(self, batch_size: int = 32, *, max_in_flight: int | None = None) -> SurvivorPools:
        """Return what ``predict_stream`` runs, to be fed as examples arrive: `eat.models.stream.SurvivorPools`.

        Raises:
            ValueError: If an option is out of range.
            RuntimeError: In training mode, or if the model has sufficient rules.
        """
        if self.rules:
            raise RuntimeError(
                "predict_stream: its pools stand behind heads, and this model has sufficient rules before them; call "
                "the model on batches, or remove the rules (set_rules(None))"
            )
        return SurvivorPools(self.backbone, self.encoder, self._protected_id, batch_size, max_in_flight)

    def compile_blocks(self) -> None:
        """Compile what each block does to rows (all but the attention), once for all blocks and lengths.

        Answers stay the same within rounding, and a saved model is not affected. Meant for GPUs, where a block then
        takes fewer kernel launches (not measured). On a CPU it does not pay: matrix products take nearly all the time,
        and compiled code uses torch's own instead of oneDNN's. MiniLM-L6 on AMD EPYC, one thread, CPU time of plain
        over compiled: 0.48x at batch 1 with 25 tokens, 0.54x at batch 32 with 764; without oneDNN 0.94x and 1.00x.
        """
        if self.config.weights is None:  # binary ones are dense in memory
            self._refuse_if_made_for_inference("compile_blocks")
        for block in self.encoder.blocks:
            cast(Block, block).compiled = True

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
        self._graphs = SegmentGraphs.prepare(self.backbone, self.encoder, self._protected_id, max_length)

    def check_certificate(self) -> None:
        """Compare the certificate with the model as it is; withdraw one that does not hold."""
        certificate.check(self)

    def train(self, mode: bool = True) -> AdaptiveForSequenceClassification:
        """Go into training mode, where a certificate ends, or into evaluation mode."""
        if mode:
            self._refuse_if_made_for_inference("train")
            certificate.withdraw(self, "the model was put into training mode")
        super().train(mode)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> AdaptiveForSequenceClassification:
        """Move or convert the tensors, as torch does for ``to`` and ``half``; another precision is another model."""
        before = self.dtype
        if self.config.engine is not None:
            refuse_place(fn(torch.empty(0)), self.config.engine["name"])
        super()._apply(fn, recurse)
        if self.dtype != before:
            certificate.withdraw(self, f"weights went from {before} to {self.dtype}")
        return self

    def _divide_logits(self) -> None:
        for head, temperature in zip(self.encoder.heads.values(), self.temperatures, strict=True):
            cast(Head, head).temperature = temperature

    def _set_part(self, key: str, spec: dict[str, Any]) -> None:
        before = self.config.change(key, spec)
        certificate.follow(self, key, before, getattr(self.config, key))

    def _built_attention(self, spec: Mapping[str, Any]) -> Attention:
        attention = build_attention(spec)
        if (self.config.engine or {}).get("name") == "int8" and isinstance(attention, GroupedAttention):
            attention.equal_lengths = True
        return attention

    def _protect(self, attention: Attention) -> None:
        self._protected_id = self.backbone.sep_token_id if "sep" in attention.global_tokens else None
