"""Train an adaptive classifier and evaluate it, or add early heads to a fine-tuned one (``retrofit=``).

On several devices a process trains on each, and one evaluates.
"""

import dataclasses
import logging
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import LightningDataModule, Trainer, seed_everything
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase

from eat.checks import shown
from eat.cli.build import build
from eat.cli.command import command
from eat.cli.compose import keep_quiet, plain
from eat.cli.jobs import earlier_report, in_sweep
from eat.cli.options import check_training
from eat.cli.processes import train_in_processes
from eat.cli.teacher import find_teacher_run, named_teacher
from eat.evaluation import Report, evaluate_run
from eat.exits.points import OperatingPoint
from eat.runs.data import FRESH, check_data, check_same, describe_data
from eat.runs.environment import continue_with_kernels, write_environment
from eat.runs.finished import FinishedRun
from eat.runs.folder import RunFolder, begin, choose_run, continued_config
from eat.runs.outcome import Compressed
from eat.tasks import Task, build_task
from eat.tasks.formats.table import listed
from eat.tasks.metrics import build_metrics
from eat.training.backbones import TrainingBackbone
from eat.training.best import LOSS, best_metric
from eat.training.checkpoints import LAST, load_best
from eat.training.compression import build_compression
from eat.training.compression.layers import count_weights
from eat.training.distributed import cluster, first_process_first, leave_processes, process_number
from eat.training.module import AdaptiveModule
from eat.training.objectives import build_objective

log = logging.getLogger(__name__)


@command("train")
def main(config: DictConfig) -> Report | None:
    """Train what is not trained yet, then evaluate; return what a multirun combines, None without an evaluation."""
    keep_quiet()
    config = _completed(config)
    run = trained(config, wait=in_sweep())  # a sweep's jobs may differ in their exits alone
    if process_number() > 0:
        return None
    if config.evaluation.stages is not None and not config.evaluation.stages:
        log.info("not evaluated, as evaluation.stages=[] asks; python evaluate.py run=... does it later")
        return None
    if (report := earlier_report()) is not None:
        return report
    exit = plain(config.exit)
    if OperatingPoint.of(exit) == FinishedRun(run.path).exit:
        exit = {}  # not asked for, so that a certified run is reported at its certified point
    data = {f"data_{key}": config.data[key] for key in ("root", "cache_dir")}
    return evaluate_run(run.path, exit=exit, **data, **plain(config.evaluation))


def trained(config: DictConfig, *, wait: bool) -> RunFolder:
    """Train a configuration in its run folder, unless it is trained already; return the folder.

    With ``wait``, another process that trains or evaluates there is waited for; else that is an error.
    """
    check_training(plain(config))  # not after hours of training
    run = choose_run(plain(config))
    if process_number() > 0:  # of several that torchrun or srun has started; the first holds the folder
        if config.fresh or not run.is_finished:
            train(config, run)
    elif config.fresh or not run.is_finished:
        with run.locked(wait=wait):
            begin(run, fresh=config.fresh)
            if not run.is_finished:  # by another process, before this one held it
                with run.kept_once_started():
                    _train_on_devices(config, run)
    else:
        check_data(run.path, plain(config))
        log.info("%s is trained already and is only evaluated; fresh=true trains it anew", run.path)
    return run


def _train_on_devices(config: DictConfig, run: RunFolder) -> None:
    """Train in this process; in others, which it starts, where there are several devices and nothing started some."""
    processes = build("trainer", plain(config.trainer), logger=False).num_devices
    if processes == 1 or cluster() is not None:
        train(config, run)
    else:
        train_in_processes(train, config, run, processes)


def train(config: DictConfig, run: RunFolder) -> None:
    """Fit in a run folder, from its last checkpoint where there is one, and save the best model there.

    One of several processes is called in all of them: the first alone writes.
    """
    seed_everything(config.seed, workers=True, verbose=False)
    callbacks = [build(f"callbacks.{name}", part) for name, part in plain(config.callbacks).items()]
    trainer = build("trainer", plain(config.trainer), callbacks=callbacks, logger=False, default_root_dir=run.path)
    with first_process_first(trainer):
        module, source, tokenizer = _prepare(config, run, trainer)
    last = run.checkpoints / LAST
    start = trainer.strategy.broadcast(last if last.is_file() else None)  # other nodes may see it later
    with source as batches:
        try:
            for logger in trainer.loggers:
                logger.log_hyperparams(plain(config))
            trainer.fit(module, batches, ckpt_path=start, weights_only=True)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C and SIGTERM, without a word, the latter with code 0
            where = "from its last checkpoint" if last.is_file() else "from the start, for want of a checkpoint"
            log.info("stopped by a signal; the same command continues %s %s", run.path, where)
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from None
        except FloatingPointError:  # in all processes, of which one says it
            if trainer.is_global_zero:
                raise
            raise SystemExit(1) from None
        leave_processes(trainer)
        if trainer.is_global_zero:
            outcome, (whole, _) = load_best(trainer), count_weights(module.model)
            model = module.finished_model()
            if config.compression.name != "none":
                compressed = Compressed(config.compression.name, whole, *count_weights(model))
                outcome = dataclasses.replace(outcome, compression=compressed)
            outcome.write(run.path)
            run.save_model(model, tokenizer)


def _prepare(
    config: DictConfig, run: RunFolder, trainer: Trainer
) -> tuple[AdaptiveModule, AbstractContextManager[LightningDataModule], PreTrainedTokenizerBase]:
    """Make what is trained, its batches and tokenizer; give the trainer its loggers, and note what the run is."""
    task = build_task(plain(config.task))
    best = best_metric(task, config.best.metric)
    backbone: TrainingBackbone = build("backbone", plain(config.backbone))
    first = trainer.is_global_zero
    # Nothing rests on a tokenizer of a start without a checkpoint, and its texts may have changed since.
    if first and not (run.checkpoints / LAST).is_file():
        shutil.rmtree(run.checkpoints / "tokenizer", ignore_errors=True)
    tokenizer = backbone.tokenizer(lambda: _training_texts(task, config), run.checkpoints / "tokenizer")
    data = describe_data(plain(config), task, tokenizer)
    check_same(run.path, data, remedy=FRESH)
    # Before texts are tokenised, which may take minutes, so that parts that do not fit the encoder are refused at once.
    model = backbone.build(
        tokenizer,
        task,
        attention=plain(config.attention),
        pruner=plain(config.pruner),
        exit=plain(config.exit),
        head_depths=config.head_depths,
        head_pooling=config.head_pooling,
        seed=config.seed,
    )
    model.config.num_texts = len(task.text_fields)
    data.setup()
    for split, facts in data.summary().items():
        shown = (
            f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items()
        )
        log.info("%s: %s", split, ", ".join(shown))
    counts = data.label_counts()
    untrained = [name for name, count in zip(task.label_names, counts, strict=True) if not count]
    if untrained:
        log.warning("train: no row that is left to train on has %s: nothing can be learned there", listed(untrained))
    module = backbone.module(
        model,
        build_objective(
            plain(config.objective),
            tokenizer=tokenizer,
            label_names=task.label_names,
            max_length=backbone.max_length,
            label_counts=counts,
            num_examples=len(data.splits["train"]),
            multi_label=task.kind == "multi_label",
        ),
        optimizer=build("optimizer", plain(config.optimizer)),
        scheduler=build("scheduler", plain(config.scheduler)),
        schedule=build("schedule", plain(config.schedule)),
        compression=build_compression(plain(config.compression)),
        metrics=build_metrics(task, *([] if best == LOSS else [best])),
        best=best,
        seed=config.seed,
    )
    trainer.limit_val_batches = 1.0 if "threshold" in data.splits else 0
    if (run.checkpoints / LAST).is_file() and trainer.strategy.root_device.type == "cpu":
        continue_with_kernels(run.path / "environment.json")
    if first:
        trainer.loggers = [
            build(f"logger.{name}", part, folder=run.path)() for name, part in plain(config.logger).items()
        ]
        run.save_config(plain(config))
        write_environment(
            run.path / "environment.json",
            seed=config.seed,
            data=data.fingerprint(),
            classes=task.label_names,
            device=trainer.strategy.root_device.type,
            num_devices=trainer.world_size,
        )
    return module, backbone.batches(data, module.model, run.checkpoints), tokenizer


def _completed(config: DictConfig) -> DictConfig:
    """Return the configuration that is meant: of a run that is continued, of a retrofit, with a teacher's folder."""
    if isinstance(cluster(), TorchElasticEnvironment) and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ValueError("multirun: expected to start its trainings' processes itself; leave torchrun out")
    if config.get("resume") is not None:
        return OmegaConf.create(continued_config(plain(config), HydraConfig.get().overrides.task))
    _check_taught(config)
    if config.get("retrofit") is not None:
        return compose_retrofit(HydraConfig.get().overrides.task)
    if teacher := named_teacher(config):
        config.objective.teacher = find_teacher_run(teacher, HydraConfig.get().overrides.task)
    return config


def _check_taught(config: DictConfig) -> None:
    """Refuse the objective of a teacher without one, which is the joint objective under another name."""
    if not HydraConfig.initialized() or OmegaConf.is_missing(config.objective, "teacher"):
        return
    if HydraConfig.get().runtime.choices.get("objective") == "distill" and not config.objective.teacher:
        raise ValueError(
            f"objective.teacher: expected a folder, or experiment:<name>, with objective=distill, got "
            f"{shown(config.objective.teacher)}; objective=joint trains without a teacher"
        )


def compose_retrofit(overrides: Sequence[str]) -> DictConfig:
    """Compose anew what was typed, from the defaults of a retrofit."""
    config = compose("retrofit", list(overrides))
    if "classifier" not in config.backbone:
        raise ValueError(f"backbone: retrofit= brings the encoder itself, so leave backbone={config.backbone.name} out")
    return config


def _training_texts(task: Task, config: DictConfig) -> Iterator[str]:
    """Yield every text of the training split: what a tokenizer is made from where none comes with the backbone."""
    rows = task.load(root=config.data.root)["train"]
    for field in task.text_fields:
        yield from rows[field][:]
