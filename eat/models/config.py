"""Configuration of a saved model: five checked keys beside Hugging Face's own, a fingerprint, perhaps a certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from transformers import PreTrainedConfig

from eat.attention import build_attention
from eat.backbones import build_backbone
from eat.checks import number, one_of, plain, shown, whole_number
from eat.exits import ExitCriterion, build_exit, check_exit
from eat.models.binary import check_weights
from eat.models.rules import Rules, build_rules
from eat.modules.heads import POOLINGS
from eat.ops.int8 import BITS
from eat.pruners import build_pruner

# Left out of what is saved where there are none.
_OPTIONAL = ("certificate", "fingerprint", "engine", "rules", "weights", "num_texts")
MULTI_LABEL = "multi_label_classification"
PROBLEM_TYPES = {"regression": "regression", "multi_label": MULTI_LABEL}
"""Hugging Face's ``problem_type`` for what a task asks; None, which is the default, for one class of several."""
MAX_LABELS = 10_000_000  # extreme classification has 3 million; each has a name and a row in every head


class AdaptiveConfig(PreTrainedConfig):
    """Configuration of an `eat.models.classifier.AdaptiveForSequenceClassification`.

    Each key but ``heads``, ``certificate``, ``num_texts`` and ``fingerprint`` is of a part, as ``{"name": ...,
    **constructor arguments}``; names, never import paths.

    Attributes:
        backbone: Model type and shape.
        attention: ``full`` or ``windowed``.
        pruner: Which tokens are pruned.
        exit: Which sequences exit early.
        heads: ``{"depths": [...], "pooling": "cls" | "mean"}``; the last depth is always among them, and its head may
            have a pooling of its own, ``final_pooling``. ``temperatures``, where heads were calibrated, are what
            divides the logits of each head, by ascending depth.
        certificate: What ``evaluate.py stages=[certify]`` guarantees of ``exit``: the point (``exit``), the fingerprint
            (``model``) of the weights and configuration that it is about, the facts, and the ``digest`` of all that;
            None without one.
        engine: ``{"name": "int8", "activation_bits": 8}`` where the weights are int8, ``{"name": "bf16"}`` where they
            are bfloat16 and all else is float32; None for weights of one type. Rows of 7 bits are for processors that
            add products of bytes with saturation.
        rules: What `eat.models.rules` builds: the sufficient rules by which sequences exit before the first head
            (``rules``), the fingerprint (``model``) of the weights and configuration that they were fitted for, and the
            ``digest`` of both; None without any.
        weights: What `eat.models.binary.binary_weights` returns where weights have one bit on disk; None for floating
            point.
        num_texts: Of what an input was made in training: 1 text, or 2 for pairs; None where nobody said. Answers do not
            follow from it: it is for those who read files for the model.
        fingerprint: In ``config.json`` alone, what `eat.models.integrity` compares with the weights beside it;
            None once they are loaded.
    """

    # Hugging Face writes an __init__ that takes more keys than its signature says; checks by signature must not apply.
    __no_type_check__ = True

    model_type = "eat"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["exit_depth", "tokens_kept", "all_logits"]

    backbone: dict[str, Any] | None = None
    attention: dict[str, Any] | None = None
    pruner: dict[str, Any] | None = None
    exit: dict[str, Any] | None = None
    heads: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    fingerprint: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    rules: dict[str, Any] | None = None
    weights: dict[str, Any] | None = None
    num_texts: int | None = None

    @property
    def initializer_range(self) -> float:
        """Standard deviation of random weights, as the backbone says."""
        return float((self.backbone or {}).get("initializer_range", 0.02))

    @property
    def vocab_size(self) -> int | None:
        """Words in the vocabulary, under Hugging Face's name; None where there is no backbone yet."""
        return (self.backbone or {}).get("vocab_size")

    @vocab_size.setter
    def vocab_size(self, value: int) -> None:
        if value != self.vocab_size:
            self.backbone = {**(self.backbone or {}), "vocab_size": value}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from a saved dict; another model's is refused."""
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type != cls.model_type:
            raise ValueError(
                f"config: expected a saved eat model (model_type 'eat'), got model_type {shown(model_type)}; "
                "to start from a Hugging Face encoder use AdaptiveForSequenceClassification.from_backbone"
            )
        _check_inherited(config_dict)
        return super().from_dict(config_dict, **kwargs)

    @property
    def num_labels(self) -> int | None:
        """Classes, or labels of a multi-label model, or 1 for regression."""
        return None if self.id2label is None else len(self.id2label)

    @num_labels.setter
    def num_labels(self, value: Any) -> None:
        if whole_number("num_labels", value) > MAX_LABELS:  # before a name is made for each
            raise ValueError(f"num_labels: expected at most {MAX_LABELS}, got {value}")
        if value != self.num_labels:
            self.id2label = {index: f"LABEL_{index}" for index in range(value)}
            self.label2id = {name: index for index, name in self.id2label.items()}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return what is saved: without the keys that say nothing, such as an absent certificate."""
        saved = super().to_diff_dict()
        return {k: v for k, v in saved.items() if k not in _OPTIONAL or v is not None}

    @property
    def num_outputs(self) -> int:
        """Logits of each head: the classes, the labels of a multi-label model, or 1 for regression."""
        return len(self.id2label or {})

    @property
    def multi_label(self) -> bool:
        """True where each output is a label with a sigmoid of its own."""
        return self.problem_type == MULTI_LABEL

    def head_pooling(self, depth: int) -> str:
        """What the head at a depth reads: "cls" or "mean"."""
        return pooling_at(self.heads or {}, depth)

    def change(self, key: str, spec: dict[str, Any] | None) -> Any:
        """Set a key and return what it was; the configuration stays as it was where it would not pass `check`."""
        before = getattr(self, key)
        setattr(self, key, plain(spec))
        try:
            self.check()
        except ValueError:
            setattr(self, key, before)
            raise
        return before

    def check(self) -> None:
        """Check every key by building its part, and that the parts suit each other."""
        for key in ("backbone", "attention", "pruner", "exit", "heads"):
            if not isinstance(getattr(self, key), Mapping):
                raise ValueError(f"config.{key}: expected a mapping, got {shown(getattr(self, key))}")
        if self.num_outputs < 1:
            raise ValueError("id2label: expected one name or more, got none")
        backbone = build_backbone(self.backbone or {})
        attention = build_attention(self.attention or {})
        pruner = build_pruner(self.pruner or {})
        criterion = build_exit(self.exit or {})
        layers = backbone.num_layers
        backbone.attentions(attention)  # refuses a part that does not suit it
        _check_heads(self.heads or {}, layers)
        _check_temperatures(self.heads or {}, self.num_outputs)
        _check_certificate(self.certificate)
        _check_fingerprint(self.fingerprint)
        check_engine(self.engine)
        check_weights(self.weights, self.engine)
        if self.num_texts is not None:
            whole_number("config.num_texts", self.num_texts, at_most=2)
        if any(depth >= layers for depth in pruner.depths):
            raise ValueError(
                f"pruner.depths: expected depths between 1 and {layers - 1} (after the last layer of {layers} "
                f"nothing is left to save), got {shown(list(pruner.depths))}"
            )
        if "sep" in attention.global_tokens and backbone.sep_token_id is None:
            raise ValueError(
                "attention.global_tokens: 'sep' needs the separator's id; pass sep_token_id to from_backbone"
            )
        fitting = ["regression"] if self.num_outputs == 1 else ["single_label_classification", MULTI_LABEL]
        if self.problem_type not in (None, *fitting):
            raise ValueError(
                f"problem_type: expected {', '.join(map(repr, fitting))} or None with num_labels={self.num_outputs}, "
                f"got {shown(self.problem_type)}"
            )
        check_exit(criterion, self.num_outputs, self.multi_label)
        self._rules(backbone.dim, criterion)

    def built_rules(self) -> Rules | None:
        """Build the sufficient rules; None where there are none."""
        return self._rules(build_backbone(self.backbone or {}).dim, build_exit(self.exit or {}))

    def _rules(self, dim: int, criterion: ExitCriterion) -> Rules | None:
        depths = sorted((self.heads or {})["depths"])
        if self.rules is not None and self.multi_label:
            raise ValueError("rules: expected none where a text has several labels: a rule answers one class")
        return build_rules(self.rules, self.num_outputs, dim, depths[0] if criterion.active else depths[-1])


def pooling_at(heads: Mapping[str, Any], depth: int) -> str:
    """Return what the head at a depth reads, "cls" or "mean", by a configuration's ``heads``."""
    early = str(heads["pooling"])
    return str(heads.get("final_pooling", early)) if depth == max(heads["depths"]) else early


def head_options(
    depths: Sequence[int] | str | None, last: int, exits: bool, pooling: str, final_pooling: str | None
) -> dict[str, Any]:
    """Return ``heads`` for the options of ``from_backbone``; without depths every depth has one where some can exit."""
    depths = plain(depths)
    if depths == "all" or (depths is None and exits):
        depths = range(1, last + 1)
    if (
        not isinstance(depths or (), Sequence)
        or isinstance(depths, str)
        or any(isinstance(d, str) for d in depths or ())
    ):
        raise ValueError(f"head_depths: expected 'all' or a list of depths, got {shown(depths)}")
    heads: dict[str, Any] = {"depths": sorted({*(depths or ()), last}), "pooling": pooling}
    return heads if final_pooling is None else heads | {"final_pooling": final_pooling}


def _check_inherited(config: Mapping[str, Any]) -> None:
    """Check what a file says under Hugging Face's own keys, where Hugging Face's code would fail without a word."""
    names = config.get("id2label")
    if names is not None and not (
        isinstance(names, Mapping) and sorted(map(str, names)) == sorted(map(str, range(len(names))))
    ):
        raise ValueError(f"config.id2label: expected a mapping of 0, 1, ... to names, got {shown(names)}")
    for key in ("dtype", "torch_dtype"):
        dtype = config.get(key)
        name = dtype.removeprefix("torch.") if isinstance(dtype, str) else ""
        if not (dtype in (None, "auto") or isinstance(dtype, torch.dtype | Mapping)) and not isinstance(
            getattr(torch, name, None), torch.dtype
        ):
            raise ValueError(f"config.{key}: expected the name of a torch dtype such as 'float32', got {shown(dtype)}")


def _check_heads(heads: Mapping[str, Any], layers: int) -> None:
    known = {"depths", "pooling", "final_pooling", "temperatures"}
    if set(heads) - known or not isinstance(heads.get("depths"), list | tuple):
        raise ValueError(
            "config.heads: expected the keys 'depths' (a list), 'pooling' and perhaps 'final_pooling' and "
            f"'temperatures', got {shown(dict(heads))}"
        )
    for name, pooling in (("head_pooling", heads.get("pooling")), ("final_head_pooling", heads.get("final_pooling"))):
        if name == "head_pooling" or "final_pooling" in heads:
            one_of(name, pooling, POOLINGS)
    for depth in heads["depths"]:
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= layers:
            raise ValueError(f"head_depths: expected depths between 1 and {layers}, got {shown(depth)}")
    if len(set(heads["depths"])) < len(heads["depths"]):
        raise ValueError(f"head_depths: expected each depth once, got {len(heads['depths'])} with some repeated")
    if layers not in heads["depths"]:
        raise ValueError(f"head_depths: expected the last depth {layers} among them, got {shown(heads['depths'])}")


def _check_temperatures(heads: Mapping[str, Any], num_outputs: int) -> None:
    temperatures = heads.get("temperatures")
    if temperatures is None:
        return
    if num_outputs < 2:
        raise ValueError("temperatures: need class probabilities, but the model has num_labels=1 (regression)")
    if not isinstance(temperatures, list | tuple) or len(temperatures) != len(heads["depths"]):
        raise ValueError(
            f"temperatures: expected a list of {len(heads['depths'])} numbers, one per head, got {shown(temperatures)}"
        )
    for value in temperatures:
        number("temperatures", value, above=0)


def _check_certificate(certificate: Any) -> None:
    if certificate is not None and not (isinstance(certificate, Mapping) and {"exit", "model"} <= set(certificate)):
        raise ValueError(
            f"config.certificate: expected a mapping with 'exit' and 'model', or none, got {shown(certificate)}"
        )


def _check_fingerprint(fingerprint: Any) -> None:
    if fingerprint is not None and not (isinstance(fingerprint, Mapping) and {"weights", "shape"} <= set(fingerprint)):
        raise ValueError(
            f"config.fingerprint: expected a mapping with 'weights' and 'shape', or none, got {shown(fingerprint)}"
        )


def check_engine(engine: Any) -> None:
    """Check what a configuration says of the numbers that a model computes with; None for those of its weights."""
    if engine is None or engine == {"name": "bf16"}:
        return
    fits = isinstance(engine, Mapping) and set(engine) == {"name", "activation_bits"} and engine["name"] == "int8"
    bits = engine["activation_bits"] if fits else None
    if isinstance(bits, bool) or bits not in BITS:
        raise ValueError(
            f"config.engine: expected none, name 'int8' and activation_bits {' or '.join(map(str, BITS))}, or name "
            f"'bf16' alone, got {shown(engine)}; was it saved by a newer version?"
        )
