"""What a result depends on besides its configuration: versions, hardware, threads, commit; no names, no paths."""

import json
import logging
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from eat import kernels
from eat.files import read_object, write_text
from eat.machine import cpu_name, instructions

log = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "lightning", "torchmetrics", "numpy", "hydra-core")
_BROKEN = "restore it, or delete it: then the run's data can no longer be compared"
_JSON = {dict: "object", list: "array", str: "string"}
_NO_RESULTS = ":(top,exclude)results"


def describe_environment(*, seed: int, data: str, device: str, num_devices: int = 1) -> dict[str, Any]:
    """Return the facts that ``environment.json`` holds.

    ``data`` is the fingerprint of the data that are read, ``device`` the type of the one that trains (``"cpu"``); there
    may be several.
    """
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "device": device,
        **({"num_devices": num_devices} if num_devices > 1 else {}),
        "cpu": cpu_name(),
        "instructions": instructions() or None,
        "cpu_cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        **({"kernels": kernels.noted()} if device == "cpu" else {}),
        "commit": commit(),
        "seed": seed,
        "data": data,
    }


def write_environment(
    path: Path, *, seed: int, data: str, device: str, num_devices: int = 1, classes: Sequence[str] = ()
) -> None:
    """Write ``environment.json``, with the facts of ``describe_environment`` and the classes' names.

    A resumption in another environment is added under ``resumed``, not hidden.
    """
    facts = describe_environment(seed=seed, data=data, device=device, num_devices=num_devices)
    current = facts | {"classes": list(classes)}
    if path.is_file():
        first = read_environment(path)
        resumed: list[dict[str, Any]] = first.pop("resumed", [])
        if current not in (first, *resumed):
            resumed.append(current)
        current = first | ({"resumed": resumed} if resumed else {})
    write_text(path, json.dumps(current, indent=2) + "\n")


def continue_with_kernels(path: Path) -> None:
    """Multiply as the run did so far, where it noted how and this is the same processor, torch and number of threads.

    Elsewhere products round differently, and a continued training ends with other weights than one left alone; that is
    said in one line.

    Raises:
        ValueError: If ``environment.json`` is broken.
    """
    noted = read_environment(path)
    values = noted.get("kernels")
    if not values:
        return
    now = cpu_name(), metadata.version("torch"), torch.get_num_threads()
    before = noted.get("cpu"), noted.get("packages", {}).get("torch"), noted.get("threads")
    if before == now:
        kernels.use(values)
    else:
        log.warning(
            "%s was begun on %s with torch %s and %s threads and is continued on %s with torch %s and %s threads: its "
            "numbers may differ in their last digits from those of a run left alone",
            *(path.parent, *before, *now),
        )


def read_environment(path: Path) -> dict[str, Any]:
    """Return what ``write_environment`` wrote; empty where there is no such file.

    Raises:
        ValueError: If it is broken.
    """
    if not path.is_file():
        return {}
    try:
        facts = read_object(path)
    except ValueError as error:
        raise ValueError(f"{error}; {_BROKEN}") from error
    for key, kind in (("packages", dict), ("kernels", dict), ("resumed", list), ("data", str), ("classes", list)):
        if key in facts and not isinstance(facts[key], kind):
            raise ValueError(
                f"{path}: {key}: expected a JSON {_JSON[kind]}, got {type(facts[key]).__name__}; {_BROKEN}"
            )
    return facts


def commit() -> str | None:
    """Return the commit of the code that runs, with ``+changes`` where files differ from it; None outside git.

    Results are no code: a benchmark that writes them anew has not changed what it measures.
    """
    repository = Path(__file__).parent
    try:
        head = _git(repository, "rev-parse", "HEAD")
        changes = _git(repository, "status", "--porcelain", "--untracked-files=no", "--", ":/", _NO_RESULTS)
        return head + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return answer.stdout.strip()
