"""How a model's parts are replaced on the same weights: another exit, pruner, attention, temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from eat.attention import build_attention
from eat.backbones.base import Backbone
from eat.exits import ExitCriterion, build_exit
from eat.models.certificate import CertifiedModel
from eat.models.encoder import AdaptiveEncoder
from eat.modules.block import Block
from eat.modules.heads import Head
from eat.pruners import Pruner, build_pruner


class ReplaceableParts(CertifiedModel):
    """What can be changed in a model without training it; the configuration follows, and a certificate ends.

    Attributes:
        backbone: Shape and limits.
        encoder: The loop.
    """

    backbone: Backbone
    encoder: AdaptiveEncoder
    _protected_id: int | None

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

    def set_pruner(self, **spec: Any) -> None:
        """Choose another pruner or another schedule for the same weights."""
        self._set_part("pruner", spec)
        self.encoder.pruner = build_pruner(spec)

    def set_attention(self, **spec: Any) -> None:
        """Choose another attention for the same weights."""
        self._set_part("attention", spec)
        attention = build_attention(spec)
        for module in self.encoder.modules():
            if isinstance(module, Block):
                module.attention = attention
        self._protected_id = self.backbone.sep_token_id if "sep" in attention.global_tokens else None

    @property
    def temperatures(self) -> tuple[float, ...]:
        """What divides the logits of each head, by ascending depth; 1 where they are left as they are."""
        return tuple((self.config.heads or {}).get("temperatures") or [1.0] * len(self.encoder.head_depths))

    def set_temperatures(self, temperatures: Sequence[float] | None) -> None:
        """Divide each head's logits by a temperature, before any criterion sees them; None leaves all as they are."""
        heads = {key: value for key, value in (self.config.heads or {}).items() if key != "temperatures"}
        self._set_part("heads", heads if temperatures is None else heads | {"temperatures": list(temperatures)})
        self._arrange_temperatures()

    def _arrange_temperatures(self) -> None:
        for head, temperature in zip(self.encoder.heads.values(), self.temperatures, strict=True):
            cast(Head, head).temperature = temperature

    def _set_part(self, key: str, spec: dict[str, Any]) -> None:
        before = getattr(self.config, key)
        setattr(self.config, key, spec)
        try:
            self.config.check()
        except ValueError:
            setattr(self.config, key, before)
            raise
        self._part_changed(key, before, spec)

    def set_pruning_scale(self, scale: float) -> None:
        """Multiply the pruner's ratios by a number in [0, 1]: how training anneals them."""
        if not 0 <= scale <= 1:
            raise ValueError(f"scale: expected a number in [0, 1], got {scale}")
        if scale != self.encoder.pruner.scale:
            self._withdraw_certificate(f"its pruning was scaled by {scale}")
        self.encoder.pruner.scale = scale
