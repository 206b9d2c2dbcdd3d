"""One shape in one precision: the model, its variants, and examples for it; what the parts are made of."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from eat.benchmark.contenders import ALL_OFF, PADDED, Contender, build_contenders, ours
from eat.benchmark.engines import ENGINES, Encoded, Source, cannot_run, not_measured
from eat.benchmark.engines.packed import with_torchs_product
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off, variant
from eat.ops.confidence import max_probability
from eat.suite.inputs import draw_lengths, random_examples, real_lengths
from eat.suite.settings import SuiteSettings
from eat.suite.shapes import VOCAB_SIZE, early_depth, shape_config

PRUNER = {"name": "l2_norm", "depths": [2, 4], "ratio": 0.3}
"""The paper's: 30 % after layers 2 and 4."""
WINDOW = 32
TORCHS_PRODUCT = f"{ALL_OFF}_torchs_product"
"""Says how much of a speed-up over Hugging Face is the library's: see `eat.ops.linear`."""
ALL_LEAVE = {"name": "confidence", "threshold": 0.0}
"""An exit that every example takes at the first head."""

ENOUGH = 32
"""So many examples find the threshold at which about half leave."""


@dataclasses.dataclass(frozen=True)
class Workbench:
    """A shape with random weights; built when it is first asked for."""

    shape: str  # out of `SHAPES`
    dtype: torch.dtype
    settings: SuiteSettings
    folder: Path  # holds what is written for other engines and processes, as long as it is measured

    @cached_property
    def model(self) -> AdaptiveForSequenceClassification:
        """The shape with everything off; its heads are after a third of the layers and after the last."""
        return self._build(None)

    @cached_property
    def static(self) -> AdaptiveForSequenceClassification:
        """The static shortcut: a third of the layers."""
        return self._build(early_depth(self.shape))

    @cached_property
    def all_off(self) -> Contender:
        """Ours with everything off: what efficiency is measured against."""
        return ours(ALL_OFF, all_off(self.model))

    @cached_property
    def contenders(self) -> tuple[Contender, ...]:
        """What every engine makes of the model with everything off; those that need an export are on disk."""
        return build_contenders(self.source, folder=self.folder, absent=self.absent, memory=False)

    @cached_property
    def source(self) -> Source:
        """The model as engines are given it."""
        return Source(self.model, calibration=self.examples("sst2"))

    @cached_property
    def absent(self) -> dict[str, str]:
        """Why engines take no part, by name."""
        absent = not_measured(self.settings.torch_device)
        return absent | cannot_run(self.source, absent)

    @property
    def padded(self) -> Contender:
        """Hugging Face on padded batches."""
        return Contender(PADDED, PADDED, ENGINES[PADDED].call(self.source))

    def baselines(self, *, grouped: bool) -> list[Contender]:
        """Enter every engine; after ours, on a CPU, ours again with torch's own product, as Hugging Face has it."""
        entrants = []
        for contender in self.contenders:
            if grouped or not contender.grouped:
                entrants.append(contender)
            if contender.name == ALL_OFF and self.settings.torch_device.type == "cpu":
                slower = with_torchs_product(contender.call)
                entrants.append(dataclasses.replace(contender, name=TORCHS_PRODUCT, call=slower))
        return entrants

    @property
    def pruned(self) -> AdaptiveForSequenceClassification:
        """The paper's pruning with full attention and no exits."""
        return variant(self.model, pruner=PRUNER)

    def half_leave(
        self, model: AdaptiveForSequenceClassification, examples: Sequence[Encoded]
    ) -> AdaptiveForSequenceClassification:
        """Return the model at the operating point where about half of these examples leave at the early head."""
        confidence = []
        with torch.inference_mode():
            for example in examples[:ENOUGH]:
                ids = torch.tensor(example["input_ids"], device=self.settings.torch_device)
                output = model(ids, lengths=torch.tensor([len(ids)]), trace=True)
                confidence.append(float(max_probability(output.all_logits[:, 0]).item()))
        return variant(model, exit={"name": "confidence", "threshold": float(np.median(confidence))})

    def examples(self, data_set: str, at_least: int = 1, times: int = 1) -> list[Encoded]:
        """Draw examples of real lengths."""
        count = times * self.settings.examples
        lengths = draw_lengths(real_lengths(data_set), count, self.settings.seed, at_least)
        return random_examples(lengths, VOCAB_SIZE, self.settings.seed)

    def examples_of(self, length: int, count: int) -> list[Encoded]:
        """Make examples that are all as long."""
        return random_examples(np.full(count, length), VOCAB_SIZE, self.settings.seed)

    def _build(self, num_layers: int | None) -> AdaptiveForSequenceClassification:
        """Build the shape, or its first layers alone with one head after the last of them."""
        settings = self.settings
        lengths = [*settings.lengths, *settings.curve_lengths, *(length for _, length in settings.memory_batches)]
        model = AdaptiveForSequenceClassification.from_backbone(
            shape_config(self.shape),
            num_layers=num_layers,
            head_depths=[] if num_layers else [early_depth(self.shape)],
            max_length=max(512, *lengths),
            seed=settings.seed,
        )
        torch.nn.Module.to(model, device=settings.torch_device, dtype=self.dtype)  # transformers' own `to` hides types
        return model
