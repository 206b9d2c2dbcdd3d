"""The machine that a number was measured on: processor, memory, load, GPU."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eat.checks import shown

if TYPE_CHECKING:
    import torch

_GPU_FACTS = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")


def device_name(name: str, value: Any) -> str:
    """Return the name of a device that torch knows, or "auto"; else raise a ValueError that calls it ``name``."""
    if value in ("auto", "cpu"):
        return str(value)
    import torch  # not at the top: an exported model is served without torch

    try:
        device = torch.device(str(value))
    except RuntimeError:
        raise ValueError(f"{name}: expected auto, cpu or cuda, got {shown(value)}") from None
    if device.type == "cuda":
        there = (device.index or 0) < torch.cuda.device_count()
        what = f"torch finds {torch.cuda.device_count()} CUDA devices here"
    else:
        there, what = _answers(device), "torch cannot compute there on this machine"
    if not there:
        raise ValueError(f"{name}: expected auto, cpu or a GPU that is there, got {shown(value)}: {what}")
    return str(value)


def _answers(device: "torch.device") -> bool:
    import torch

    try:
        return bool(torch.ones(1, device=device).item() == 1)
    except (AssertionError, NotImplementedError, RuntimeError):
        return False


def chosen_device(value: str) -> "torch.device":
    """Return a torch device that is there; of "auto" the first GPU where there is one, else the CPU."""
    import torch

    if value == "auto":
        value = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device_name("device", value))


def describe_host() -> dict[str, Any]:
    """Return what times depend on beside the software; what the system does not tell is None."""
    return {
        "cpu": cpu_name(),
        "instructions": instructions() or None,
        "cpu_cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "load_average": load_average(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def cpu_name() -> str:
    """Return the processor's name as the system gives it, or the architecture where it gives none."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def num_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "bf16", "i8mm", "sve"),
)
"""Instruction sets that products are written for, as the system names them."""


def instructions() -> str:
    """Return those of `INSTRUCTIONS` that the processor has, in their order; empty where the system does not tell."""
    has = set(cpu_facts().split())
    return " ".join(name for name in INSTRUCTIONS if name in has)


def cpu_facts() -> str:
    """Return what the processor can do, as the system lists it; empty where it does not."""
    return _cpuinfo("flags", "Features")


def _cpuinfo(*keys: str) -> str:
    """Return what Linux says of the first processor under one of the keys; empty where it says nothing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(keys)), "")


def memory_gib() -> float | None:
    """Return the memory of the machine in GiB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, macOS not every name
        return None


def load_average() -> float | None:
    """Return the processes that ran or waited, on average over the last minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def gpu_clocks() -> str | None:
    """Return driver, clocks and power limit of the GPUs as ``nvidia-smi`` gives them, or None where it does not."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={','.join(_GPU_FACTS)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.split(", ") for line in answer.stdout.strip().splitlines()]
    return "; ".join(" ".join(f"{k} {v}" for k, v in zip(_GPU_FACTS, line, strict=False)) for line in lines) or None
