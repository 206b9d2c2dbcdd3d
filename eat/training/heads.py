"""Train early heads alone, on the cached features of frozen weights (two stages, as in DeeBERT, Xin et al. 2020)."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from eat.data.collate import label_tensor
from eat.data.module import Loader, TextDataModule
from eat.data.sampler import batches_in_order
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.modules.heads import Head
from eat.packed import AdaptiveOutput
from eat.training.features import CachedFeatures, cache_features, fingerprint
from eat.training.module import AdaptiveModule
from eat.training.objectives import Objective


class HeadsModule(AdaptiveModule):
    """Trains the early heads of a classifier on cached features; nothing else of it changes.

    The best heads are those of the best mean, over the early heads, of the metric that selects.

    Raises:
        ValueError: If the objective has a teacher, which could teach the final head alone, or steps that train nothing
            but the final head.
    """

    # Checkpoints hold the early heads; the frozen weights come from where they came from.
    strict_loading = False

    def __init__(self, model: AdaptiveForSequenceClassification, objective: Objective, **options: Any) -> None:
        super().__init__(model, objective, **options)
        if getattr(objective, "teacher", None) is not None:
            raise ValueError("objective.teacher: expected null with retrofit, since the final head is not trained")
        if any(objective.phase(step, 2, model.head_depths).head_depths == model.head_depths[-1:] for step in (0, 1)):
            raise ValueError(
                f"objective: expected one whose every step trains early heads with retrofit, "
                f"got {type(objective).__name__}, which trains the final head alone in some"
            )
        model.requires_grad_(False)
        for depth in model.head_depths[:-1]:
            model.encoder.heads[str(depth)].requires_grad_(True)

    @property
    def monitored(self) -> str:
        """Name of what selects the best heads."""
        return f"val/{self.best}_early"

    def finished_model(self) -> AdaptiveForSequenceClassification:
        """Return the model with its early heads; binary weights, which did not change, are stored by their bits."""
        model = super().finished_model()
        model.config.weights = model.frozen_weights
        return model

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen weights out."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the split and the early heads' mean."""
        early = list(self.head_metrics.compute().values())[:-1]
        self.log(self.monitored, torch.stack(early).mean())
        super().on_validation_epoch_end()

    def _forward(self, batch: Mapping[str, Tensor], head_depths: tuple[int, ...]) -> AdaptiveOutput:
        final = batch["final_logits"]
        *early_heads, _ = (cast(Head, head) for head in self.model.encoder.heads.values())
        answers = [
            head.answer(rows).float()
            for depth, head, rows in zip(self.model.head_depths, early_heads, batch["pooled"].unbind(1), strict=False)
            if depth in head_depths
        ]
        return AdaptiveOutput(
            logits=final,
            exit_depth=torch.full_like(batch["lengths"], self.model.num_layers),
            tokens_kept=batch["tokens_kept"],
            all_logits=torch.stack([*answers, *([final] if self.model.num_layers in head_depths else [])], dim=1),
        )


class FeatureDataModule(LightningDataModule):
    """Batches of cached features, which are computed into ``folder`` when a training first asks for them."""

    def __init__(self, data: TextDataModule, model: AdaptiveForSequenceClassification, folder: Path) -> None:
        super().__init__()
        self.data = data
        self.model = model
        self.folder = folder
        self.features: dict[str, CachedFeatures] = {}

    def setup(self, stage: str | None = None) -> None:
        """Run the encoder over what trains and what selects, once."""
        if self.trainer is not None:
            torch.nn.Module.to(self.model, self.trainer.strategy.root_device)
        self.model.set_pruning_scale(1.0)
        splits = {name: self.data.tokenized[name] for name in ("train", "threshold") if name in self.data.tokenized}
        cache = self.folder / f"features-{fingerprint(self.model, list(splits.values()))}"
        for name, split in splits.items():
            if name not in self.features:
                self.features[name] = cache_features(self.model, split, cache, name, self.data.eval_batch_size)

    def train_dataloader(self) -> Loader:
        """Return training batches: the order is a pure function of (seed, epoch)."""
        return self._loader("train", self.data.training_batches(group_by_length=False))

    def val_dataloader(self) -> Loader:
        """Return the threshold split."""
        return self._loader("threshold", batches_in_order(len(self.features["threshold"]), self.data.eval_batch_size))

    def resume_at(self, epoch: int, batches: int) -> None:
        """Let the next training loader start at an epoch's batch, as that of the texts would."""
        self.data.resume_at(epoch, batches)

    def discard(self) -> None:
        """Delete the cache: nothing reads it once the heads are trained."""
        self.features = {}
        for cache in self.folder.glob("features-*"):
            shutil.rmtree(cache)

    def _loader(self, split: str, batches: Any) -> Loader:
        features, all_labels = self.features[split], self.data.tokenized[split].labels
        assert all_labels is not None  # tasks are labelled

        def collate(examples: Sequence[int]) -> dict[str, Tensor]:
            numbers = np.asarray(examples, dtype=np.int64)
            records = features[numbers]
            tokens_kept = torch.from_numpy(records["tokens_kept"].astype(np.int64))
            return {
                "pooled": torch.from_numpy(np.ascontiguousarray(records["pooled"])),
                "final_logits": torch.from_numpy(np.ascontiguousarray(records["final_logits"])),
                "tokens_kept": tokens_kept,
                "lengths": tokens_kept[:, 0],
                "labels": label_tensor(all_labels[numbers]),
                "example": torch.from_numpy(numbers),
            }

        return DataLoader(range(len(features)), batch_sampler=batches, collate_fn=collate)  # type: ignore[arg-type]
