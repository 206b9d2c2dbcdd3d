"""Ways to make a run folder hostile: what it names, what it has pickled, what its links point to."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pathlib
import pickle
import random
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

MARK = "evil_marker"


@dataclasses.dataclass(frozen=True)
class Trap:
    """Where a hostile folder lies, and what it is after."""

    folder: Path  # the run's
    canaries: Path  # empty: whatever appears here was executed
    victims: Path  # files and folders that must stay

    def touch(self, draw: random.Random) -> str:
        """Return a canary's path."""
        return str(self.canaries / f"{MARK}-{draw.randrange(10**6)}")

    @property
    def victim(self) -> str:
        """A file to delete or to write over."""
        return str(self.victims / "victim.txt")


Attack = Callable[[random.Random, Trap], str]
"""Makes a folder hostile, and says how."""


class Payload:
    """Runs a call where it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def payload(draw: random.Random, trap: Trap) -> Payload:
    """Draw what a pickle does."""
    canary = trap.touch(draw)
    return draw.choice(
        [
            Payload(os.system, f"touch {canary}"),
            Payload(exec, f"open({canary!r}, 'w')"),
            Payload(eval, f"open({canary!r}, 'w').close()"),
            Payload(pathlib.Path.unlink, Path(trap.victim)),
            Payload(shutil.rmtree, str(trap.victims / "folder")),
            Payload(subprocess.check_call, ["touch", canary]),
            Payload(runpy.run_path, str(module(trap, canary))),
        ]
    )


def module(trap: Trap, canary: str, name: str = "evil_module") -> Path:
    """Write a Python file that leaves a canary where it is run."""
    path = trap.folder / "model" / f"{name}.py"
    path.write_text(
        f"open({canary!r}, 'w').close()  # {MARK}\n"
        "from transformers import BertConfig as EvilConfig, BertForSequenceClassification as EvilModel\n"
        "from transformers import BertTokenizerFast as EvilTokenizer, TextClassificationPipeline as EvilPipeline\n"
    )
    return path


def node(draw: random.Random, trap: Trap) -> dict[str, Any]:
    """Draw a mapping that calls something where it is instantiated."""
    canary = trap.touch(draw)
    evil = trap.folder / "evil.pkl"
    evil.write_bytes(pickle.dumps(payload(draw, trap)))
    (trap.folder / "hubconf.py").write_text(f"open({canary!r}, 'w').close()  # {MARK}\ndef evil(**_): return 1\n")
    calls: list[dict[str, Any]] = [
        {"_target_": "os.system", "command": f"touch {canary}"},
        {"_target_": "posix.system", "_args_": [f"touch {canary}"]},
        {"_target_": "subprocess.run", "args": ["touch", canary]},
        {"_target_": "subprocess.Popen", "_args_": [["touch", canary]]},
        {"_target_": "builtins.eval", "_args_": [f"open({canary!r}, 'w').close()"]},
        {"_target_": "builtins.exec", "_args_": [f"open({canary!r}, 'w').close()"]},
        {"_target_": "builtins.open", "_args_": [trap.victim, "w"]},
        {"_target_": "pathlib.Path.unlink", "_args_": [{"_target_": "pathlib.Path", "_args_": [trap.victim]}]},
        {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [canary]}]},
        {"_target_": "shutil.rmtree", "path": str(trap.victims / "folder")},
        {"_target_": "os.remove", "path": trap.victim},
        {"_target_": "os.rename", "_args_": [trap.victim, canary]},
        {"_target_": "torch.hub.load", "repo_or_dir": str(trap.folder), "model": "evil", "source": "local"},
        {"_target_": "torch.load", "f": str(evil), "weights_only": False},
        {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(evil)},
        {"_target_": "numpy.load", "file": str(evil), "allow_pickle": True},
        {"_target_": "joblib.load", "filename": str(evil)},
        {"_target_": "runpy.run_path", "path_name": str(module(trap, canary))},
        {"_target_": "importlib.import_module", "name": "antigravity"},
        {"_target_": "hydra.utils.instantiate", "_args_": [{"_target_": "os.system", "command": f"touch {canary}"}]},
        {"_target_": "hydra.utils.call", "config": {"_target_": "os.mkdir", "path": canary}},
        {"_target_": "eat.files.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": [canary]}, "x"]},
        {"_target_": "eat.training.loggers.tensorboard_logger", "_partial_": True, "folder": str(trap.victims)},
        {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": str(trap.victims)},
        {
            "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
            "dirpath": str(trap.victims),
            "every_n_train_steps": 1,
        },
        {"_target_": "urllib.request.urlopen", "url": "http://127.0.0.1:9/"},
        {"_target_": "socket.create_connection", "address": ["127.0.0.1", 9]},
    ]
    call = draw.choice(calls)
    wrap = draw.randrange(6)
    if wrap == 0:
        return call | {"_partial_": True}
    if wrap == 1:
        return call | {"_recursive_": draw.random() < 0.5, "_convert_": "all"}
    if wrap == 2:
        return {"_target_": "builtins.dict", "x": call}
    if wrap == 3:
        return {"_target_": "functools.partial", "_args_": [call]}
    return call


def targets_in_config(draw: random.Random, trap: Trap) -> str:
    """Put a call anywhere into config.yaml: in a part's place, in a list, nested, or through an interpolation."""
    path = trap.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    call = node(draw, trap)
    how = draw.randrange(5)
    top = draw.choice(["backbone", "optimizer", "scheduler", "schedule", "trainer", "callbacks", "logger", "objective"])
    if how == 0:
        config[top] = call
    elif how == 1:
        config.setdefault(top, {})
        if not isinstance(config[top], dict):
            config[top] = {}
        config[top][draw.choice(["evil", "name", "folder", *map(str, config[top])])] = call
    elif how == 2:
        config["callbacks"] = {
            **(config.get("callbacks") or {}),
            "evil": {"_target_": "builtins.list", "_args_": [[call]]},
        }
    elif how == 3:
        config["evil"] = call
        config[top] = "${evil}" if draw.random() < 0.5 else {**call, "_target_": "${evil._target_}"}
    else:
        key = draw.choice(list(config))
        config[key] = draw.choice([call, [call], {"a": [call, {"b": call}]}])
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return f"config.yaml calls {call['_target_']} in {top if how < 4 else key}"


def yaml_tags(draw: random.Random, trap: Trap) -> str:
    """Let the YAML itself build objects, or take up the environment."""
    path, canary = trap.folder / "config.yaml", trap.touch(draw)
    tag = draw.choice(
        [
            f"!!python/object/apply:os.system ['touch {canary}']",
            f"!!python/object/apply:builtins.exec [\"open('{canary}', 'w')\"]",
            f"!!python/object/new:subprocess.Popen [[touch, {canary}]]",
            "!!python/name:os.system",
            "!!python/module:antigravity",
            "${oc.env:HOME}",
            "${oc.create:{_target_:os.getcwd}}",
            "${oc.decode:'{a:1}'}",
        ]
    )
    text, line = path.read_text(), draw.choice(["seed:", "head_depths:", "experiment:", "evil:"])
    lines = [one for one in text.splitlines() if not one.startswith(line)]
    path.write_text("\n".join([*lines, f"{line} {tag}", ""]))
    return f"config.yaml has the tag {tag.split()[0]}"


def paths_in_config(draw: random.Random, trap: Trap) -> str:
    """Let the configuration name folders elsewhere, or names with steps upwards."""
    path, outside = trap.folder / "config.yaml", str(trap.victims / "new")
    config = yaml.safe_load(path.read_text())
    keys = ["data.cache_dir", "trainer.default_root_dir", "paths.runs", "task.name", "backbone.name", "budget.name"]
    keys += [
        "exit.name",
        "experiment",
        "task.train",
        "hydra.run.dir",
        "logger.csv.folder",
        "pruner.name",
        "backbone.path",
    ]
    key = draw.choice(keys)
    value = draw.choice([outside, f"../../{Path(outside).parent.name}/new", "../victims/new"])
    set_key(config, key, value)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return f"config.yaml: {key} lies elsewhere"


def set_key(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, making what is missing."""
    *parents, last = key.split(".")
    for name in parents:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = value


def pickled_weights(draw: random.Random, trap: Trap) -> str:
    """Put a pickle where weights, checkpoints or arrays are read."""
    name = draw.choice(
        [
            *("checkpoints/last.ckpt", "checkpoints/best.ckpt", "model/pytorch_model.bin", "model/model.safetensors"),
            *("model/training_args.bin", "model/optimizer.pt", "checkpoints/features.npy", "trace/validation.parquet"),
            *("checkpoints/features/train.npy", "checkpoints/features.npz", "model/adapter_model.bin"),
        ]
    )
    path = trap.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    evil, buffer = payload(draw, trap), io.BytesIO()
    how = draw.randrange(4)
    if name.endswith((".npy", ".npz")):
        np.save(buffer, np.array([evil], dtype=object), allow_pickle=True)
    elif how == 0:
        buffer.write(pickle.dumps(evil))
    else:
        state = {"state_dict": {"x": torch.zeros(1)}, "evil": evil}
        if name.endswith(".ckpt") and path.is_file() and how > 1:  # a real one, with a pickle in its midst
            state = torch.load(path, weights_only=True)
            state[draw.choice(["callbacks", "hyper_parameters", "optimizer_states", "loops", "evil"])] = evil
        torch.save(state, buffer, _use_new_zipfile_serialization=how != 1)
    path.write_bytes(buffer.getvalue())
    if name == "model/pytorch_model.bin":
        (trap.folder / "model/model.safetensors").unlink(missing_ok=True)
    return f"{name} is a pickle"


def code_in_model(draw: random.Random, trap: Trap) -> str:
    """Let the saved model or its tokenizer name code, its own or a package's."""
    module(trap, trap.touch(draw))
    changes: list[tuple[str, str, Any]] = [
        ("config.json", "auto_map", {"AutoConfig": "evil_module.EvilConfig", **_AUTO}),
        ("config.json", "auto_map", _AUTO | {"AutoTokenizer": ["evil_module.EvilTokenizer", None]}),
        ("config.json", "model_type", "evil"),
        ("config.json", "architectures", ["evil_module.EvilModel", "os.system"]),
        (
            "config.json",
            "custom_pipelines",
            {"text-classification": {"impl": "evil_module.EvilPipeline", "pt": ["AutoModel"]}},
        ),
        ("config.json", "_name_or_path", str(trap.folder / "model")),
        ("config.json", "quantization_config", {"quant_method": "evil_module.Evil"}),
        ("config.json", "transformers_weights", str(trap.folder / "evil.pkl")),
        ("config.json", "attn_implementation", "evil/kernel:evil_module"),
        (
            "tokenizer_config.json",
            "auto_map",
            {"AutoTokenizer": ["evil_module.EvilTokenizer", "evil_module.EvilTokenizer"]},
        ),
        (
            "tokenizer_config.json",
            "tokenizer_class",
            draw.choice(["evil_module.EvilTokenizer", "os.system", "EvilTokenizer"]),
        ),
        ("tokenizer_config.json", "tokenizer_file", trap.victim),
        ("tokenizer_config.json", "chat_template", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        ("tokenizer.json", "pre_tokenizer", {"type": "evil_module.Evil"}),
    ]
    changes += [
        ("config.json", f"{part}.name", draw.choice(["os.system", "evil_module.EvilModel", "../evil", "builtins.eval"]))
        for part in ("backbone", "pruner", "exit", "attention")
    ]
    changes += [
        ("config.json", "backbone.activation", "evil_module.EvilModel"),
        ("config.json", "pruner._target_", "os.getcwd"),
    ]
    file, key, value = draw.choice(changes)
    path = trap.folder / "model" / file
    values = json.loads(path.read_text())
    set_key(values, key, value)
    path.write_text(json.dumps(values))
    if draw.random() < 0.3:
        (trap.folder / "model" / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(trap.folder), "auto_mapping": _AUTO})
        )
    return f"model/{file}: {key} names code"


_AUTO = dict.fromkeys(("AutoModel", "AutoModelForSequenceClassification"), "evil_module.EvilModel")


def links(draw: random.Random, trap: Trap) -> str:
    """Replace a file or a folder by a link to something elsewhere, also where a file is first written."""
    files = ("metrics.csv", ".lock", "environment.json", "config.yaml", "report/summary.md", "report/results.csv")
    files += ("checkpoints/last.ckpt", "model/config.json", "model/README.md", "trace/validation.parquet")
    files += ("report/certificate.json", "report/exits.png", "checkpoints/best.ckpt", "checkpoints/features")
    folders = ("checkpoints", "report", "trace", "model.partial", "checkpoints/tokenizer", "tensorboard", "wandb")
    if draw.random() < 0.65:
        name = draw.choice(files)
        name += draw.choice(["", ".partial"])
        target = trap.victim
    else:
        name, target = draw.choice(folders), str(trap.victims / "folder")
    path = trap.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target if draw.random() < 0.7 else os.path.relpath(target, path.parent))
    return f"{name} is a link"


def names_upwards(draw: random.Random, trap: Trap) -> str:
    """Let stored results name files upwards."""
    import pyarrow.parquet as pq

    path = draw.choice(sorted((trap.folder / "trace").glob("*.parquet")))
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"eat"])
    up = f"../../victims/{draw.choice(['new', 'victim'])}"
    set_key(
        facts["metadata"],
        draw.choice(["split", "traces", "data", "fingerprint"]),
        draw.choice([up, [up], [path.stem, up]]),
    )
    pq.write_table(table.replace_schema_metadata({b"eat": json.dumps(facts).encode()}), path)
    return "a trace names files upwards"


def sizes(draw: random.Random, trap: Trap) -> str:
    """Ask for more than any memory or time holds."""
    huge = draw.choice([10**7, 10**9, 10**12, 10**30, 1e308, -1, [10**9], list(range(10**5))])
    name = draw.choice(["config.yaml", "model/config.json"])
    path = trap.folder / name
    values = yaml.safe_load(path.read_text())
    keys = ("backbone.num_layers", "backbone.dim", "backbone.vocab_size", "backbone.max_length", "head_depths", "seed")
    keys += (
        "heads.depths",
        "backbone.intermediate_size",
        "pruner.depths",
        "num_labels",
        "data.batch_size",
        "trainer.devices",
    )
    key = draw.choice(keys)
    set_key(values, key, huge)
    path.write_text(json.dumps(values) if name.endswith("json") else yaml.safe_dump(values, sort_keys=False))
    return f"{name}: {key} is huge"


ATTACKS: dict[str, tuple[int, Attack]] = {
    "targets": (8, targets_in_config),
    "YAML tags": (2, yaml_tags),
    "paths": (3, paths_in_config),
    "pickles": (6, pickled_weights),
    "code": (5, code_in_model),
    "links": (5, links),
    "names": (1, names_upwards),
    "sizes": (2, sizes),
}
"""Kind of attack -> how often it is drawn, and what makes it."""


def make_hostile(draw: random.Random, trap: Trap) -> list[tuple[str, str]]:
    """Make a folder hostile in one to three ways; return the kinds and what was done."""
    done = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        kind = draw.choices(list(ATTACKS), [often for often, _ in ATTACKS.values()])[0]
        try:
            done.append((kind, ATTACKS[kind][1](draw, trap)))
        except (
            ValueError,
            OSError,
            KeyError,
            TypeError,
            yaml.YAMLError,
            IndexError,
            RuntimeError,
            pickle.UnpicklingError,
        ):
            continue  # an earlier attack has left nothing there to attack
    return done or [("links", links(draw, trap))]
