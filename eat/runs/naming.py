"""What a training is called: the fingerprint of its configuration, its folder's name, what an override changes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# What is about this session on this machine, and no part of what a run is.
SESSION = ("paths", "resume", "fresh", "evaluation")

# Devices share batches out and take the steps of one: what is trained does not follow from them.
DEVICES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy")

STANDARD = "standard"
"""The choice of ``holdout`` that is made where none is."""
NO_HOLDOUT = "none"
"""Nothing is held out: thresholds are chosen on the reported split, as in the paper."""
HELD_OUT = ("threshold_examples", "certification_examples")
HOLDOUTS: Mapping[str, Sequence[int]] = {NO_HOLDOUT: [0, 0], "small": [250, 500], STANDARD: [500, 1500]}
"""Choices of ``conf/holdout`` -> rows held out for thresholds, and for certificates."""
BEFORE_HOLDOUTS = {"name": STANDARD, **dict(zip(HELD_OUT, HOLDOUTS[STANDARD], strict=True))}
"""What the configuration of a run from before there was a choice of ``holdout`` means."""

# What may change without making it another training: dotted paths, each with everything below it.
NOT_TRAINING = (
    *SESSION,
    "benchmark",  # typed as benchmark@evaluation.benchmark=paper, composed below `evaluation`
    "exit",
    "logger",
    "experiment",
    "data.root",
    "data.cache_dir",
    "data.num_workers",
    "data.eval_batch_size",
    "callbacks.checkpoints",
    "callbacks.progress",
    "trainer.log_every_n_steps",
    "trainer.threads",
    *DEVICES,
)


COUNTED_ELSEWHERE = ("retrofit", "backbone.lr")
"""What others take their value from: `backbone.classifier`, `optimizer.lr`."""

FRACTIONS: Mapping[str, Sequence[str]] = {
    "backbone": ("dropout", "initializer_range"),
    "callbacks.early_stopping": ("min_delta",),
    "compression": ("end", "heads", "keep", "neurons", "penalty_weight", "score_lr", "start", "threshold"),
    "data": ("validation_share",),
    "objective": (
        *("early_weight", "final_weight", "focal_gamma", "label_smoothing", "self_weight", "stage"),
        *("teacher_weight", "temperature"),
    ),
    "optimizer": ("betas", "eps", "layer_decay", "lr", "weight_decay"),
    "pruner": ("ratio",),
    "schedule": ("anneal_epochs", "warmup_epochs"),
    "scheduler": ("warmup_ratio",),
    "task": ("validation_share",),
    "trainer": ("gradient_clip_val",),
}
"""Section -> keys whose numbers may have fractions: 2, as it is typed, is the 2.0 of a YAML."""

ADDED: Mapping[str, Any] = {
    "backbone.feed_forward": "dense",
    "best.metric": None,
    "compression.name": "none",
    "objective.class_weights": None,
    "objective.focal_gamma": 0.0,
    **{
        f"{section}.{key}": value
        for key, value in {
            "validation_share": None,
            "separator": " ",
            "label_names": None,
            "label_separator": ",",
            "unlabelled": "refuse",  # which trains as before, or not at all
            "max_rows": None,
        }.items()
        for section in ("data", "task")
    },
}
"""Options that older runs' configurations lack, as they were meant then: with these values a run keeps its name."""


def is_as_before(place: str, value: Any) -> bool:
    """Return True for an option that stands at what was meant before there was one."""
    return place in ADDED and bool(value == ADDED[place])


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return 8 hex digits that name a training: the same for the same resolved configuration, less ``NOT_TRAINING``."""
    kept = _without(config, (*NOT_TRAINING, *COUNTED_ELSEWHERE))
    if isinstance(kept.get("trainer"), dict):
        kept["trainer"]["devices"] = 1  # names given before there could be several stay
    for place, keys in FRACTIONS.items():
        section: Any = kept
        for name in place.split("."):
            section = section.get(name) if isinstance(section, dict) else None
        for key in keys if isinstance(section, dict) else ():
            if key in section:
                section[key] = _with_fraction(section[key])
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def _with_fraction(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_with_fraction, value)]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def run_name(config: Mapping[str, Any]) -> str:
    """Return a run's folder name: what a reader wants to know first, then the fingerprint of everything."""
    attention, pruner, objective = config["attention"], config["pruner"], config["objective"]
    backbone = config["backbone"]
    compression = (config.get("compression") or {}).get("name", "none")
    parts = [
        backbone["name"],
        *([backbone["feed_forward"]] if backbone.get("feed_forward", "dense") != "dense" else []),
        f"{attention['name']}{attention.get('window', '')}",
        "unpruned" if pruner["name"] == "none" else pruner["name"],
        *([objective["name"]] if objective["name"] != "joint" else []),
        *(["self_distill"] if objective.get("self_weight") else []),
        *(["distill"] if objective.get("teacher") else []),
        *(["weighted"] if objective.get("class_weights") else []),
        *(["focal"] if objective.get("focal_gamma") else []),
        *([compression] if compression != "none" else []),
        *([config["head_pooling"]] if config["head_pooling"] != config["backbone"]["head_pooling"] else []),
        config["budget"]["name"],
        *([f"holdout_{config['holdout']['name']}"] if config["holdout"]["name"] != STANDARD else []),
        f"seed{config['seed']}",
        fingerprint(config),
    ]
    return "-".join(parts)


def seedless_fingerprint(config: Mapping[str, Any]) -> str:
    """Name a training but for its seed, and for which run of a teacher taught it: that one has a seed as well."""
    objective = dict(config.get("objective") or {})
    if objective.get("teacher"):
        objective["teacher"] = True
    return fingerprint({**config, "objective": objective, "seed": None})


def holdout_name(config: Mapping[str, Any]) -> str:
    """Name what a run held out of training by its numbers: a choice of ``conf/holdout``, or the two numbers."""
    sizes, named = [(config.get("data") or {}).get(key) or 0 for key in HELD_OUT], config.get("holdout")
    for name, known in HOLDOUTS.items():
        if sizes == known:
            return name
    numbers = named if isinstance(named, Mapping) else {}
    own = numbers.get("name") not in (None, *HOLDOUTS)  # of those the numbers were changed
    if own and sizes == [numbers.get(key, size) for key, size in zip(HELD_OUT, sizes, strict=True)]:
        return str(numbers["name"])
    return " + ".join(f"{size:,}" for size in sizes)


def training_overrides(overrides: Sequence[str]) -> list[str]:
    """Return those command-line overrides, as typed (``task=rte``), that would make it another training."""
    return [override for override in overrides if not _is_below(override_key(override), NOT_TRAINING)]


def typed_places(overrides: Sequence[str]) -> list[str]:
    """Return those of ``NOT_TRAINING`` that command-line overrides are about."""
    keys = [override_key(override) for override in overrides]
    return [place for place in NOT_TRAINING if any(_is_below(key, [place]) for key in keys)]


def override_key(override: str) -> str:
    """Return the dotted key, or the group, that an override is about."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".")


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a configuration that is no mapping, by its dotted key."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def training_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training follows from, but for its seed: dotted key -> value."""
    return dict(leaves(_without(config, (*NOT_TRAINING, "seed"))))


def _without(config: Mapping[str, Any], paths: Sequence[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if _is_below(path, paths) or is_as_before(path, value):
            continue
        kept[str(key)] = _without(value, paths, f"{path}.") if isinstance(value, Mapping) else value
        if value and not kept[str(key)] and any(place.startswith(f"{path}.") for place in ADDED):
            del kept[str(key)]  # a section of which all is as it was before there was one
    return kept


def _is_below(path: str, paths: Sequence[str]) -> bool:
    return any(path == other or path.startswith(f"{other}.") for other in paths)
