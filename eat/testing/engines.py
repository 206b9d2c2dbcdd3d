"""Check an engine."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eat.benchmark.engines import ENGINES, Encoded, Engine, Saved, Source
from eat.benchmark.engines.engine import joined
from eat.benchmark.engines.packed import packed_call
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.sharing import all_off
from eat.models.tracer import model_tracer
from eat.testing.checked import Checked, seeds
from eat.testing.models import draw_batch, make_model, without_holes

WITHIN = 1e-4
"""How far an exact engine's logits may be off: float32 by other kernels."""
ELSEWHERE = Path(__file__).with_name("elsewhere.py")
PARTS: dict[str, Any] = {
    "pruner": {"name": "attention_received", "depths": [1, 2], "ratio": 0.3},
    "exit": {"name": "confidence", "threshold": 0.5237},
}


def check_engine(engine: str | Engine, *, trials: int = 10, seed: int = 0) -> Checked:
    """Check that an engine keeps what every engine promises.

    These are: it says whether it can be measured; what it saves is JSON values and is answered from by another process;
    in this process and in that one it answers like the model with everything off: within 1e-4 where it calls itself
    exact, with other numbers where it does not; one row for each example, whatever else is in the batch. One that says
    what every head answers says it of the model with its pruning on, and of as many tokens as it kept.

    Args:
        engine: The engine, or its name in the family.
        trials: Random batches.
        seed: Of the first of them.

    Returns:
        What was checked; where the engine cannot be measured on this CPU ``left_out`` says why.

    Raises:
        CheckFailedError: With what was checked, what was expected, what came, and the seed.
    """
    if isinstance(engine, str):
        name, engine = engine, ENGINES[ENGINES.checked("engine", engine)]
    else:
        name = next((known for known, other in ENGINES.items() if other is engine), type(engine).__name__.lower())
    checked = Checked(f"check_engine({name})")
    checked.expect(isinstance(engine, Engine), "it is an eat.benchmark.engines.Engine", "an instance", engine)
    why_not = engine.why_not(torch.device("cpu"))
    if why_not is not None:
        checked.left_out.append(f"answers: {why_not}")
        return checked
    model = make_model(seed=0, **PARTS).float()
    off = all_off(model)
    batches = [draw_examples(model, number) for number in seeds(seed, trials)]
    with torch.inference_mode():
        expected, live = ([packed_call(one)(batch) for batch in batches] for one in (off, model))
    source = Source(off, calibration=[example for batch in batches for example in batch])
    unable = engine.cannot(source)
    checked.expect(unable is None, "it can run a BERT encoder", None, unable)
    with tempfile.TemporaryDirectory(prefix="eat-check-") as folder:
        saved = engine.save(source, Path(folder), name)
        as_json = json.loads(json.dumps(dataclasses.asdict(saved)))
        checked.same(Saved(**as_json), saved, "what is saved is JSON values")
        checked.same(saved.engine, name, "what is saved names the engine")
        with torch.inference_mode():
            call = engine.call(saved)
            here = [call(batch) for batch in batches]
            alone = [[call([example])[0] for example in batch] for batch in batches[:3]]
        _compare(checked, engine, here, expected, "saved and loaded")
        if engine.exact:
            for one, batch in zip(alone, here, strict=False):
                checked.same(np.stack(one), batch, "an example alone is answered as in its batch", WITHIN)
        _compare(checked, engine, answers_elsewhere(engine, saved, batches), expected, "loaded by another process")
    if engine.traced:
        _check_tracer(checked, engine, model, batches[:2])
    if not engine.exported:
        with torch.inference_mode():
            call = engine.call(Source(model))
            got = [call(batch) for batch in batches]
        near = [_off(got, other) <= WITHIN for other in (expected, live)]
        fact = "it answers as the model is, or as it is with everything off"
        checked.expect(any(near) or not engine.exact, fact, f"logits within {WITHIN:g}", _off(got, expected))
    return checked


def draw_examples(model: Any, seed: int) -> list[Encoded]:
    """Draw a batch of lists of token ids and types."""
    ids, mask, types = without_holes(model, draw_batch(model, seed))
    rows = zip(ids.tolist(), types.tolist(), mask.sum(1).tolist(), strict=True)
    return [{"input_ids": row[:length], "token_type_ids": kinds[:length]} for row, kinds, length in rows]


def answers_elsewhere(engine: Engine, saved: Saved, batches: Sequence[Sequence[Encoded]]) -> list[np.ndarray]:
    """Answer batches in another process, which imports what this one can."""
    with tempfile.TemporaryDirectory(prefix="eat-check-") as folder:
        job, answers = Path(folder, "job.pickle"), Path(folder, "answers.pickle")
        job.write_bytes(pickle.dumps((engine, saved, batches)))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-P", str(ELSEWHERE), str(job), str(answers)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"another process could not answer with {engine.title!r}: {done.stderr.strip()}")
        found: list[np.ndarray] = pickle.loads(answers.read_bytes())
        return found


def _check_tracer(
    checked: Checked, engine: Engine, model: AdaptiveForSequenceClassification, batches: Sequence[Sequence[Encoded]]
) -> None:
    """Compare every head's logits, and the tokens kept, with those of the model in torch."""
    exact = model_tracer(model)
    with tempfile.TemporaryDirectory(prefix="eat-check-") as folder, torch.inference_mode():
        rows = [example for batch in batches for example in batch]
        tracer = engine.tracer(Source(model, calibration=rows), Path(folder, "traced"))
        for batch in batches:
            columns, lengths = joined(batch)
            packed = {key: torch.tensor(values) for key, values in (columns | {"lengths": lengths}).items()}
            (logits, kept), (expected, expected_kept) = tracer(packed), exact(packed)
            checked.same(logits.shape, expected.shape, "traced, it gives the logits of every head")
            checked.same(kept[:, 0], expected_kept[:, 0], "traced, it says how many tokens came in")
            within = WITHIN if engine.exact else float(np.abs(expected).max())
            checked.same(logits, expected, "traced, its heads answer as the model's", within)
            if engine.exact:
                checked.same(kept, expected_kept, "traced, it keeps the tokens that the model keeps")


def _compare(
    checked: Checked, engine: Engine, got: Sequence[np.ndarray], expected: Sequence[np.ndarray], how: str
) -> None:
    shapes = [answers.shape for answers in got]
    checked.same(shapes, [answers.shape for answers in expected], f"{how}, it gives a row of logits for each example")
    off = _off(got, expected)
    if engine.exact:
        fact = f"{how}, it answers as the model with everything off"
        checked.expect(off <= WITHIN, fact, f"a difference of at most {WITHIN:g}", off)
        return
    finite = all(np.isfinite(answers).all() for answers in got)
    checked.expect(finite, f"{how}, its answers are finite", "finite logits", got)
    checked.expect(off > WITHIN, f"{how}, it calls itself inexact and is", f"a difference above {WITHIN:g}", off)
    labels = [np.concatenate([answers.argmax(1) for answers in some]) for some in (got, expected)]
    checked.facts.append(f"{how}, {int((labels[0] == labels[1]).sum())} of {len(labels[0])} labels are the model's")


def _off(got: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    pairs = zip(got, expected, strict=True)
    return max(float(np.abs(ours - theirs).max()) if np.isfinite(ours).all() else np.inf for ours, theirs in pairs)
