"""Parts of a training with the values of ``conf``, where a test does not care or says otherwise."""

from functools import partial
from pathlib import Path

import yaml

from eat.registry import build_part
from eat.training.backbones import TinyBackbone
from eat.training.checkpoints import AnnealedEarlyStopping, RunCheckpoints
from eat.training.compression import build_compression
from eat.training.objectives import OBJECTIVES
from eat.training.optimizer import adamw
from eat.training.schedule import linear_warmup_decay

CONF = Path(__file__).parents[2] / "conf"


def read_conf(name):
    """Return a file of conf as it stands there, interpolations and all."""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


def make_objective(name, **changes):
    return build_part("objective", OBJECTIVES, read_conf(f"objective/{name}") | changes)


def make_compression(name, **changes):
    return build_compression(read_conf(f"compression/{name}") | changes)


def make_tiny_backbone(**changes):
    spec = read_conf("backbone/tiny") | {"max_length": 256} | changes
    del spec["_target_"]
    return TinyBackbone(**spec)


def make_callbacks(every_n_steps, patience):
    return RunCheckpoints(every_n_steps), AnnealedEarlyStopping(patience, min_delta=0.0)


def make_adamw(lr):
    """Return what makes the optimiser of a model."""
    return partial(adamw, lr=lr, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8)


make_scheduler = partial(linear_warmup_decay, warmup_ratio=0.06)
