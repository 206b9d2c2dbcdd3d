"""Sufficient rules: linear tests before the first head, each of which lets a sequence exit with one class at once.

A rule reads the rows pooled where it taps the encoder and fires where w . z > threshold: that is taken to be
sufficient for what the model would answer at full depth. `eat.evaluation.rules` fits and certifies them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from eat.checks import number, one_of, plain, shown, whole_number
from eat.models.granted import with_digest
from eat.modules.heads import POOLINGS
from eat.packed import Packed

log = logging.getLogger(__name__)

PLACES = ("embeddings", "attention", "block")


@dataclasses.dataclass(frozen=True, order=True)
class Tap:
    """Where rows are read; in the order in which the encoder computes them, ``attention`` before ``block``."""

    depth: int  # 0 for what comes out of the embeddings, else the block, from 1
    place: str  # in `PLACES`: behind the embeddings, the block's attention with its residual, or the whole block

    @property
    def label(self) -> str:
        """Its name in tables: ``attention 2``."""
        return f"{self.place} {self.depth}" if self.depth else self.place


EMBEDDINGS = Tap(0, "embeddings")


@dataclasses.dataclass(frozen=True)
class SufficientRule:
    """Lets a sequence exit with the class ``label`` where weight . pooled rows > ``threshold``, in float32.

    Raises:
        ValueError: If a value is of another type or out of range.
    """

    depth: int  # of its tap
    place: str  # of its tap
    pooling: str  # name in `eat.modules.heads.POOLINGS`
    label: int  # class that it answers
    weight: tuple[float, ...]  # w, one number per dimension
    threshold: float  # what w . z must exceed
    bound: float  # certified: at most this share of all texts fires it and has another answer at full depth
    exit_bound: float  # the same as a share of the texts that fire it, its threshold taken alone

    def __post_init__(self) -> None:
        """Check the values."""
        one_of("rules.place", self.place, PLACES)
        if (whole_number("rules.depth", self.depth, at_least=0) == 0) != (self.place == EMBEDDINGS.place):
            raise ValueError(f"rules.depth: expected 0 for the embeddings alone, got {self.place} {self.depth}")
        one_of("rules.pooling", self.pooling, POOLINGS)
        whole_number("rules.label", self.label, at_least=0)
        number("rules.threshold", self.threshold)
        number("rules.bound", self.bound, above=0, below=1)
        number("rules.exit_bound", self.exit_bound, above=0, below=0.5)

    @classmethod
    def of(cls, spec: Any) -> SufficientRule:
        """Build from what JSON holds of a rule.

        Raises:
            ValueError: If a value is missing, unknown, of another type or out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(spec, Mapping) or sorted(spec) != sorted(known):
            raise ValueError(f"rules: expected rules with {known}, got {shown(spec)}")
        weight = spec["weight"]
        if not isinstance(weight, list | tuple) or not weight:
            raise ValueError(f"rules.weight: expected a list of numbers, got {shown(weight)}")
        return cls(**{**spec, "weight": tuple(float(number("rules.weight", value)) for value in weight)})

    @property
    def tap(self) -> Tap:
        """Where it reads."""
        return Tap(self.depth, self.place)

    def logits(self, num_labels: int) -> list[float]:
        """Return what it answers: log(1 - exit_bound) for its class, the rest shared out among the others."""
        other = math.log(self.exit_bound / (num_labels - 1))
        return [math.log1p(-self.exit_bound) if label == self.label else other for label in range(num_labels)]


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensors:
    """The rules of a tap on a device."""

    tests: list[tuple[str, Float[Tensor, " dim"], float]]  # pooling, weight and threshold of each
    answers: Float[Tensor, "rules classes"]


class Rules:
    """The rules of a model in the order in which sequences meet them; of several at a tap the first that fires acts."""

    def __init__(self, rules: Iterable[SufficientRule], num_labels: int) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: (rule.tap, rule.label)))
        self.num_labels = num_labels
        self.last = self.rules[-1].tap
        self._tensors: dict[tuple[Tap, torch.device], _Tensors | None] = {}

    def exits(self, tap: Tap, state: Packed) -> tuple[Bool[Tensor, " batch"], Float[Tensor, "batch classes"]] | None:
        """Return which sequences exit at a tap, and what each would answer; None where no rule reads there."""
        key = (tap, state.rows.device)
        if key not in self._tensors:
            self._tensors[key] = self._made(*key)
        here = self._tensors[key]
        if here is None:
            return None
        pooled = {name: POOLINGS[name](state).float() for name, _, _ in here.tests}
        fires = torch.stack([pooled[name] @ weight > threshold for name, weight, threshold in here.tests])
        first = fires.int().argmax(0)  # 0 where none fires
        return fires.any(0), here.answers.index_select(0, first).to(state.rows.dtype)

    def _made(self, tap: Tap, device: torch.device) -> _Tensors | None:
        here = [rule for rule in self.rules if rule.tap == tap]
        if not here:
            return None
        with torch.inference_mode(False):  # later calls may be outside of it
            tests = [(rule.pooling, torch.tensor(rule.weight, device=device), rule.threshold) for rule in here]
            return _Tensors(tests, torch.tensor([rule.logits(self.num_labels) for rule in here], device=device))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the tensors."""
        return Rules, (self.rules, self.num_labels)


def rules_config(rules: Iterable[SufficientRule], fingerprint: str) -> dict[str, Any]:
    """Return what a configuration holds of rules that were fitted for the model of a fingerprint."""
    return with_digest({"model": fingerprint, "rules": [plain(dataclasses.asdict(rule)) for rule in rules]})


def build_rules(spec: Any, num_labels: int, dim: int, first_head: int) -> Rules | None:
    """Build the rules of a configuration, None where there are none.

    Raises:
        ValueError: If one is damaged, of another class or width than the model's, or not before the block of the first
            head that runs.
    """
    if spec is None:
        return None
    known = isinstance(spec, Mapping) and {"model", "rules", "digest"} <= set(spec)
    if not known or not isinstance(spec["rules"], list) or not spec["rules"]:
        raise ValueError(f"config.rules: expected a mapping with 'model', 'rules' and 'digest', got {shown(spec)}")
    rules = []
    for rule in map(SufficientRule.of, spec["rules"]):
        if len(rule.weight) != dim:
            raise ValueError(f"rules.weight: expected {dim} numbers, the model's dimension, got {len(rule.weight)}")
        if rule.label >= num_labels or num_labels < 2:
            raise ValueError(f"rules.label: expected a class of the model's {num_labels}, got {rule.label}")
        if rule.depth >= first_head:
            raise ValueError(
                f"rules.depth: expected taps before block {first_head}, which the first head that runs stands behind, "
                f"got {rule.tap.label}; choose an exit whose heads come later, or remove the rules (set_rules(None))"
            )
        rules.append(rule)
    return Rules(rules, num_labels)


def check(model: PreTrainedModel, fingerprint: str) -> None:
    """Compare the rules of a loaded model with the model as it is; remove those that are about another.

    Raises:
        ValueError: If they were edited.
    """
    spec = model.config.rules
    if spec is None:
        return
    if with_digest({key: value for key, value in spec.items() if key != "digest"}) != spec:
        raise ValueError(
            f"{model.config.name_or_path or 'model'}: config.rules were edited after they were certified (their digest "
            "differs); take a whole copy of the model, fit them again (evaluate.py stages=[rules] rules.apply=true), "
            "or remove 'rules' from config.json"
        )
    if spec["model"] != fingerprint:
        withdraw(model, "weights or configuration are not those that they were fitted for")


def withdraw(model: PreTrainedModel, reason: str) -> None:
    """Remove the rules of a model that has some, with a warning: the model then decides at its heads alone."""
    if model.config.rules is not None:
        log.warning("the sufficient rules of this model no longer hold and are removed: %s", reason)
        cast(Any, model).set_rules(None)
