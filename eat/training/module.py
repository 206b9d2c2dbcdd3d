"""Training and validation steps of an adaptive classifier under Lightning."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MetricCollection

from eat.data.sampler import EpochBatchSampler
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.ops.labels import one_per_example
from eat.ops.losses import joint_loss
from eat.packed import AdaptiveOutput
from eat.training.best import LOSS, MeanLoss
from eat.training.compression import Compression
from eat.training.compression.none import NoCompression
from eat.training.distributed import from_all_processes, mean_over_processes
from eat.training.objectives import Batch, Objective, Phase
from eat.training.schedule import PruningSchedule

ANEW = "start anew with fresh=true, which sets the run aside"
MEANS = ("loss", "retention")
"""What a validation averages over the examples, besides metrics."""


class AdaptiveModule(LightningModule):
    """Trains an adaptive classifier; validates it at the final pruning ratio and full depth.

    A step is a pure function of the weights, the batch, the seed and the step's number: random state is set anew at
    each batch, so that a resumed training draws the same dropout as one left alone. Several processes share each batch
    out and take the step of one process, but for dropout, which each draws on its own.

    ``scheduler`` makes the learning-rate schedule from an optimiser, ``total_steps`` and ``restarts``. ``schedule``, of
    the pruning ratio, is shrunk to the training, or its first stage, where that is shorter: what is frozen afterwards
    has met the final ratio. ``compression`` takes the parts of that length that it says. ``metrics`` are measured on
    the final head's logits; the one that is named ``best``, or the loss, is measured for every head and selects the
    best model.
    """

    def __init__(
        self,
        model: AdaptiveForSequenceClassification,
        objective: Objective,
        *,
        optimizer: Callable[[nn.Module], Optimizer],
        scheduler: Callable[..., LRScheduler],
        schedule: PruningSchedule,
        metrics: MetricCollection,
        best: str,
        compression: Compression = NoCompression(),  # noqa: B008  holds nothing
        seed: int = 0,
    ) -> None:
        super().__init__()
        compression.attach(model)
        self.model = model
        self.compression = compression
        self.objective = objective
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.schedule = schedule
        self.metrics = metrics
        of_heads = MeanLoss() if best == LOSS else metrics[best]
        self.head_metrics = MetricCollection(
            {f"{best}_depth_{depth}": of_heads.clone() for depth in model.head_depths}, compute_groups=False
        )
        # Lightning's own means over the examples of several processes round their number (2.6).
        self.validation_means = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in MEANS})
        self.best = best
        self.seed = seed
        self.total_steps, self.steps_per_epoch = 0, 0  # known once the data are
        self.encoder_steps = 0  # of all steps those that train the encoder: all, or the first stage
        self._examples: list[Tensor] = []  # of the batches that the next optimiser step sums over

    @property
    def monitored(self) -> str:
        """Name under which the metric is logged that selects the best model."""
        return f"val/{self.best}"

    @property
    def lower_is_better(self) -> bool:
        """True where that metric falls as the model gets better."""
        return self.best == LOSS

    @property
    def phase(self) -> Phase:
        """What the next step trains."""
        return self.objective.phase(self.global_step, self.total_steps, self.model.head_depths)

    @property
    def validation_counts(self) -> bool:
        """True where a validation tells which weights are best: as soon as pruning and compression are final.

        Never in a training of stages, which keeps its last weights: before the last stage some heads are untrained, and
        in it the final head, which is what validations compare, is frozen.
        """
        if self.objective.restarts(self.total_steps):
            return False
        pruned = not self.model.pruner.depths or self.global_step >= self.schedule.end_step(self.steps_per_epoch)
        return pruned and self.global_step >= self.compression.end_step(self.encoder_steps)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser and its schedule, and fit the pruning schedule to the training's length."""
        self.total_steps = int(self.trainer.estimated_stepping_batches)
        self.steps_per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        restarts = self.objective.restarts(self.total_steps)
        self.encoder_steps = (*restarts, self.total_steps)[0]
        self.schedule = self.schedule.shrunk_to(self.encoder_steps / self.steps_per_epoch)
        optimizer = self.make_optimizer(self.model)
        scheduler = self.make_scheduler(optimizer, total_steps=self.total_steps, restarts=restarts)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model in one line."""
        check_weights(self, checkpoint, "last.ckpt")

    def on_fit_start(self) -> None:
        """Train in training mode: Hugging Face hands models over in evaluation mode."""
        self.model.train()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what depends on the step: random state, pruning ratio, compression, and what is frozen."""
        position = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        torch.manual_seed(step_seed(self.seed, position, self.global_rank))
        self.model.set_pruning_scale(self.schedule.scale_at(self.global_step, self.steps_per_epoch))
        self.compression.update(self.model, self.global_step, self.encoder_steps)
        set_frozen(self.model, self.trainer.optimizers[0], self.phase.frozen)

    def finished_model(self) -> AdaptiveForSequenceClassification:
        """Return the trained model as it is saved: compressed for good, with all of the pruning ratio."""
        model = self.compression.finish(self.model)
        model.set_pruning_scale(1.0)
        return model

    def on_fit_end(self) -> None:
        """Hand the model back with everything able to learn."""
        set_frozen(self.model, self.trainer.optimizers[0], False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a packed batch."""
        phase = self.phase
        output = self._forward(batch, phase.head_depths)
        assert output.all_logits is not None
        loss, parts = self.objective(output.all_logits, batch, phase)
        penalty = self.compression.penalty(self.model)
        if penalty is not None:
            loss, parts = loss + penalty, parts | {"compression": penalty}
        weight = self._weight(batch_idx)
        if weight:
            self._examples.append(batch["example"])
        shown = {"train/loss": loss.detach(), "train/retention": output.retention.mean()}
        labels = batch["labels"]
        if not labels.is_floating_point():  # of the deepest head that ran; Lightning keeps what is left out
            shown["train/accuracy"] = (output.all_logits[:, -1].argmax(-1) == labels.flatten()).float().mean()
        shown = self._over_processes(shown, weight)
        if not torch.isfinite(shown["train/loss"]):  # of any process: all stop
            raise FloatingPointError(self._explain(f"the loss is {shown['train/loss'].item()}"))
        self.log_dict(shown, prog_bar=True, batch_size=len(batch["lengths"]))
        if self._writes_this_step:
            quiet: dict[str, Tensor | float] = {
                "train/pruning_scale": self.schedule.scale_at(self.global_step, self.steps_per_epoch),
                "train/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            }
            if len(parts) > 1:
                named = {f"train/{name}": part.detach() for name, part in parts.items()}
                quiet |= self._over_processes(named, weight)
            self.log_dict(quiet, batch_size=len(batch["lengths"]))
        # The gradients' mean over processes is then that over the batch's examples.
        return loss * (weight * self._share_of_step(batch_idx))

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip, and stop before a step with gradients that are not finite would spoil the weights."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        # Float16's loss scaler meets infinite gradients in good health and skips their step itself.
        if self.trainer.precision != "16-mixed" and not torch.isfinite(norm):
            raise FloatingPointError(self._explain(f"the gradient's norm is {norm.item()}"))
        self._examples.clear()
        if self._writes_this_step:
            self.log("train/gradient_norm", norm)
        if gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), gradient_clip_val, norm)  # not measured twice
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_validation_start(self) -> None:
        """Measure the model that will be used: all of the pruning ratio, weights compressed as far as they are."""
        self.model.set_pruning_scale(1.0)
        self.compression.update(self.model, self.global_step, self.encoder_steps)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure every head on a packed batch, without exits."""
        output = self._forward(batch, self.model.head_depths)
        assert output.all_logits is not None
        labels = batch["labels"]
        if not self.model.config.multi_label:
            labels = one_per_example("labels", labels, len(output.all_logits))
        loss = joint_loss(output.all_logits[:, -1:], labels, [1.0])  # the same in all objectives
        # A value for each example: with the check for NaN left out, torchmetrics (1.9) leaves weights out as well.
        for name, values in zip(MEANS, (loss.expand(len(labels)), output.retention), strict=True):
            cast(MeanMetric, self.validation_means[name]).update(values)
        all_logits = output.all_logits.float()
        self.metrics.update(all_logits[:, -1], labels)
        for metric, logits in zip(self.head_metrics.values(), all_logits.unbind(1), strict=True):
            metric.update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the split, the one that selects the best model for every head."""
        means = {name: cast(MeanMetric, mean) for name, mean in self.validation_means.items()}
        measured = {name: mean.compute() for name, mean in means.items()}
        measured |= self.metrics.compute() | self.head_metrics.compute()
        self.log_dict({f"val/{name}": value for name, value in measured.items()})
        self.metrics.reset()
        self.head_metrics.reset()
        for mean in means.values():
            mean.reset()

    @property
    def _writes_this_step(self) -> bool:
        """True where the loggers will write; what no progress bar shows is not handed to Lightning in between."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by one of its connectors
        return every > 0 and (self.global_step + 1) % every == 0

    def _weight(self, batch_idx: int) -> float:
        """Return what this process's mean over its part of a batch weighs in the mean over processes."""
        if self.trainer.world_size == 1:
            return 1.0
        return cast(EpochBatchSampler, cast(DataLoader, self.trainer.train_dataloader).batch_sampler).weight(batch_idx)

    def _share_of_step(self, batch_idx: int) -> float:
        """Return what a batch weighs beside the others of its optimiser step, times their number.

        It is 1, but where an epoch ends with a step of fewer batches: Lightning divides by the number of a whole step.
        """
        wanted = self.trainer.accumulate_grad_batches
        first = batch_idx - batch_idx % wanted
        return wanted / min(wanted, int(self.trainer.num_training_batches) - first)

    def _over_processes(self, means: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
        """Return means over the whole batch, in one exchange."""
        if self.trainer.world_size == 1:
            return means
        values = weight * torch.stack([mean.float() for mean in means.values()])
        return dict(zip(means, mean_over_processes(values), strict=True))

    def _forward(self, batch: Batch, head_depths: tuple[int, ...]) -> AdaptiveOutput:
        return self.model(
            batch["input_ids"],
            token_type_ids=batch.get("token_type_ids"),
            lengths=batch["lengths"],
            head_depths=head_depths,
        )

    def _explain(self, what: str) -> str:
        examples = from_all_processes([number for numbers in self._examples for number in numbers.tolist()])
        return (
            f"training stopped at step {self.global_step} (epoch {self.current_epoch + 1}): {what} on the batch of "
            f"training examples {examples}; the last checkpoint before it is kept. "
            "Look at these examples, or try a lower optimizer.lr or trainer.gradient_clip_val"
        )


def check_weights(module: LightningModule, checkpoint: Mapping[str, Any], source: str | Path) -> None:
    """Check that a checkpoint's weights are those of such a model, by name and shape.

    Raises:
        ValueError: Naming one that differs.
    """
    theirs, ours = checkpoint["state_dict"], module.state_dict()
    for name in sorted(ours.keys() | theirs.keys()):
        shapes = [tuple(weights[name].shape) if name in weights else None for weights in (ours, theirs)]
        if shapes[0] != shapes[1] and (module.strict_loading or None not in shapes):
            raise ValueError(
                f"{source} is of another model: {name} has shape {shapes[1]}, expected {shapes[0]}; {ANEW}"
            )


def step_seed(seed: int, position: int, rank: int = 0) -> int:
    """Mix the run's seed, the batch's number since the start and the process's rank into one seed for that batch."""
    state = np.random.SeedSequence([seed, position, rank]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))  # torch takes signed 64 bits


def set_frozen(model: AdaptiveForSequenceClassification, optimizer: Optimizer, frozen: bool) -> None:
    """Freeze embeddings, blocks, final norm and final head, or train them again; early heads are always trained.

    Frozen parts run without dropout, and their weights ask for no gradient: no graph is recorded through them, and an
    optimiser leaves them alone, weight decay included. Only weights that the optimiser holds are touched: what a user
    froze for good stays frozen. Cheap where nothing changes, so that each step can say it.
    """
    encoder = model.encoder
    if encoder.blocks.training != frozen:
        return
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    below = [] if encoder.norm is None else [encoder.norm]
    for part in (encoder.embeddings, encoder.blocks, *below, encoder.heads[str(model.num_layers)]):
        part.train(not frozen)
        for parameter in held.intersection(part.parameters()):
            parameter.requires_grad_(not frozen)
