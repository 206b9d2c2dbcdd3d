"""Peak memory of a contender, measured in a process of its own that holds nothing else.

``python -m eat.benchmark.memory`` is that process: it reads a contender on disk and batches from its standard input,
answers them, and writes what it took as JSON. Every process imports torch, transformers and this package; what that
takes is reported as well, because ONNX Runtime alone would need none of it.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from eat.benchmark.engines import Encoded, Saved, call_saved

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Peak:
    """What answering took, in MiB; on CUDA of the device's memory, elsewhere resident."""

    peak_mib: float  # the most at any moment while batches were answered, libraries and weights included
    over_loaded_mib: float  # that beyond what the process held once it was loaded and had answered one tiny batch
    libraries_mib: float  # what it held before any weights; 0 on CUDA


def measure_peak(
    name: str, saved: Saved, batches: Sequence[Sequence[Encoded]], *, threads: int = 1, timeout: float = 600
) -> Peak:
    """Answer batches in a new process that holds this contender alone; after ``timeout`` seconds it counts as stuck.

    Raises:
        RuntimeError: If the process fails or is stuck; the message ends with the last lines it wrote.
    """
    task = {"saved": dataclasses.asdict(saved), "batches": [[dict(e) for e in b] for b in batches], "threads": threads}
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "eat.benchmark.memory"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"memory of {name}: no answer within {timeout:g} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:]) or "it wrote nothing"
        raise RuntimeError(f"memory of {name}: its process ended with code {done.returncode}:\n{tail}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def answer_and_measure(saved: Saved, batches: Sequence[Sequence[Encoded]], threads: int) -> Peak:
    """Load a contender into this process, answer the batches and say what that took."""
    on_gpu = saved.device == "cuda"
    torch.set_num_threads(threads)
    libraries = 0.0 if on_gpu else _resident("VmRSS")
    call = call_saved(saved)
    with torch.inference_mode():
        call([{key: ids[:2] for key, ids in batches[0][0].items()}])
        loaded = torch.cuda.memory_allocated() / MIB if on_gpu else _resident("VmRSS")
        torch.cuda.reset_peak_memory_stats() if on_gpu else _forget_peak()
        for batch in batches:
            call(batch)
    peak = torch.cuda.max_memory_allocated() / MIB if on_gpu else _resident("VmHWM")
    return Peak(round(peak, 1), round(max(0.0, peak - loaded), 1), round(libraries, 1))


def _resident(field: str) -> float:
    """Return a field of this process's memory in MiB: ``VmRSS`` is resident now, ``VmHWM`` at most.

    Linux tells both; elsewhere there is the peak alone, which then stands for both.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
        return int(lines[field].split()[0]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def _forget_peak() -> None:
    """Let the peak start from what is resident now, so that loading does not count; where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    given = json.load(sys.stdin)
    found = answer_and_measure(Saved(**given["saved"]), given["batches"], given["threads"])
    print(json.dumps(dataclasses.asdict(found)))
