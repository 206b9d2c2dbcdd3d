"""Compare the peak memory of training with the Hugging Face Trainer's: the same model, batches and optimiser.

    python -m tests.reliability.memory steps=300

Each trains MiniLM's shape on sequences of SST-2's lengths for so many steps, on the CPU with one thread, in a process
of its own. Exit code 1 where eat's peak is the higher one.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import torch

from eat.checks import whole_number
from eat.suite.inputs import real_lengths
from eat.suite.shapes import shape_config
from eat.suite.training import TRAINER, training_contenders

OURS = "eat"
BATCH_SIZE = 32


def peak_mib(contender: str, steps: int) -> float:
    """Train in this process; return its peak in MiB."""
    torch.set_num_threads(1)
    lengths = np.resize(np.random.default_rng(0).permutation(real_lengths("sst2")), steps * BATCH_SIZE)
    contenders = training_contenders(
        shape_config("minilm"), lengths, batch_size=BATCH_SIZE, device=torch.device("cpu"), seed=0
    )
    contenders[contender]()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: list[str]) -> int:
    """Measure one contender, or both and compare; return the exit code."""
    options = dict(argument.split("=", 1) for argument in arguments)
    steps = whole_number("steps", int(options.get("steps", 300)))
    if "contender" in options:
        print(f"{peak_mib(options['contender'], steps):.0f}")
        return 0
    peaks = {}
    for contender in (TRAINER, OURS):
        command = [sys.executable, "-m", "tests.reliability.memory", f"contender={contender}", f"steps={steps}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[contender] = float(done.stdout.split()[-1])
        print(f"{contender}: {peaks[contender]:,.0f} MiB after {steps} steps", flush=True)
    return int(peaks[OURS] > peaks[TRAINER])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
