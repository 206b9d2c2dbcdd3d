"""Train an adaptive classifier and evaluate it: ``python train.py task=sst2``; ``--help`` lists the choices.

``python train.py retrofit=<fine-tuned classifier> task=sst2`` adds early heads to its frozen weights instead.

Composes the configuration, finds the run folder, builds the parts, fits, saves, evaluates; no logic of its own.
"""

import logging
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf
from transformers.utils import logging as transformers_logging

from eat.data import TextDataModule
from eat.evaluation import Report, evaluate_run
from eat.runs.environment import write_environment
from eat.runs.folder import RunFolder, choose_run, continued_config
from eat.tasks import Task, build_task
from eat.tasks.metrics import build_metrics
from eat.training.backbones import TrainingBackbone, build_classifier
from eat.training.checkpoints import LAST, load_best
from eat.training.heads import FeatureDataModule, HeadsModule
from eat.training.module import AdaptiveModule
from eat.training.objectives import build_objective
from eat.training.retrofit import build_retrofit

CONF = str(Path(__file__).parent / "conf")  # absolute, so that it is found from an import as well

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def main(config: DictConfig) -> Report:
    """Train what is not trained yet, then evaluate; return what a multirun combines."""
    keep_quiet()
    if config.resume is not None:
        config = OmegaConf.create(continued_config(plain(config), HydraConfig.get().overrides.task))
    elif config.retrofit is not None:
        config = compose("retrofit", HydraConfig.get().overrides.task)
    run = choose_run(plain(config))
    if not run.is_finished:
        with run.locked():
            train(config, run)
    return evaluate_run(run.path, exit=plain(config.exit), data_root=config.data.root, **plain(config.evaluation))


def train(config: DictConfig, run: RunFolder) -> None:
    """Fit in a run folder, from its last checkpoint where there is one, and save the best model there.

    Args:
        config: The composed configuration.
        run: Where everything goes.
    """
    seed_everything(config.seed, workers=True, verbose=False)
    task = build_task(plain(config.task))
    backbone: TrainingBackbone = instantiate(config.backbone)
    tokenizer = backbone.tokenizer(lambda: training_texts(task, config), run.checkpoints / "tokenizer")
    data = TextDataModule(
        task,
        tokenizer,
        max_length=backbone.max_length,
        batch_size=config.data.batch_size,
        eval_batch_size=config.data.eval_batch_size,
        seed=config.seed,
        train_examples=config.data.train_examples,
        threshold_examples=config.data.threshold_examples,
        certification_examples=config.data.certification_examples,
        group_by_length=config.data.group_by_length,
        root=config.data.root,
        cache_dir=config.data.cache_dir,
        num_workers=config.data.num_workers,
    )
    data.setup()
    for split, facts in data.summary().items():
        log.info("%s: %s", split, ", ".join(f"{name} {_shown(value)}" for name, value in facts.items()))
    retrofits = config.get("retrofit") is not None  # configurations of earlier versions have no such key
    module = (HeadsModule if retrofits else AdaptiveModule)(
        (build_retrofit if retrofits else build_classifier)(
            backbone,
            tokenizer,
            task,
            attention=plain(config.attention),
            pruner=plain(config.pruner),
            exit=plain(config.exit),
            head_depths=config.head_depths,
            head_pooling=config.head_pooling,
            seed=config.seed,
        ),
        build_objective(
            plain(config.objective),
            tokenizer=tokenizer,
            label_names=task.label_names,
            max_length=backbone.max_length,
        ),
        optimizer=instantiate(config.optimizer),
        scheduler=instantiate(config.scheduler),
        schedule=instantiate(config.schedule),
        metrics=build_metrics(task),
        primary=task.metrics[0],
        seed=config.seed,
    )
    batches = FeatureDataModule(data, module.model, run.checkpoints) if retrofits else data
    trainer = instantiate(
        config.trainer,
        callbacks=[instantiate(callback) for callback in config.callbacks.values()],
        logger=[instantiate(logger)(folder=run.path) for logger in config.logger.values()],
        default_root_dir=run.path,
        limit_val_batches=1.0 if "threshold" in data.splits else 0,
    )
    run.save_config(plain(config))
    write_environment(
        run.path / "environment.json",
        seed=config.seed,
        data=data.fingerprint(),
        device=trainer.strategy.root_device.type,
    )
    last = run.checkpoints / LAST
    try:
        trainer.fit(module, batches, ckpt_path=last if last.is_file() else None, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C and SIGTERM, without a word and the latter with code 0
        log.info("stopped by a signal; the same command continues %s from its last checkpoint", run.path)
        raise SystemExit(stop.code or 128 + signal.SIGTERM) from None
    load_best(trainer)
    module.model.set_pruning_scale(1.0)
    run.save_model(module.model, tokenizer)
    if isinstance(batches, FeatureDataModule):
        batches.discard()


def training_texts(task: Task, config: DictConfig) -> Iterator[str]:
    """Yield every text of the training split: what a tokenizer is made from where none comes with the backbone."""
    rows = task.load(root=config.data.root)["train"]
    for field in task.text_fields:
        yield from rows[field][:]


def keep_quiet() -> None:
    """Leave the screen to what this training has to say: no tips, no bars for files, no advice that does not apply."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")  # within Lightning
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")  # packing is cheap


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a part of the configuration as plain values, interpolations resolved and nothing missing."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def _shown(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
