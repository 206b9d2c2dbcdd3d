"""Answer batches with a saved engine in this process, which knows nothing but files: run by `check_engine`."""

import pickle
import sys
from pathlib import Path

import torch

if __name__ == "__main__":
    job, answers = map(Path, sys.argv[1:])
    engine, saved, batches = pickle.loads(job.read_bytes())  # written by the process that started this one
    call = engine.call(saved)
    with torch.inference_mode():
        answers.write_bytes(pickle.dumps([call(batch) for batch in batches]))
