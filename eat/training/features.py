"""Features of frozen weights, computed once and cached: what every early head reads, and the final logits."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eat.data.collate import PackingCollator
from eat.data.sampler import batches_in_order
from eat.data.tokenized import TokenizedSplit
from eat.files import replacing
from eat.models.classifier import AdaptiveForSequenceClassification
from eat.models.fingerprint import config_facts
from eat.models.granted import encode

log = logging.getLogger(__name__)

CHUNK = 1024  # examples in a file: what a kill can cost
SAY_EVERY = 20.0  # least seconds between two lines about progress


def feature_type(model: AdaptiveForSequenceClassification) -> np.dtype:
    """Return what is kept of an example, as one NumPy record.

    ``pooled`` (early heads, dim): what each early head reads; ``final_logits`` (classes,); ``tokens_kept``
    (depths + 1,), as in `eat.packed.AdaptiveOutput`.
    """
    pooled = ("pooled", np.float32, (len(model.head_depths) - 1, model.backbone.dim))
    final_logits = ("final_logits", np.float32, (model.config.num_outputs,))
    return np.dtype([pooled, final_logits, ("tokens_kept", np.int32, (model.num_layers + 1,))])


def fingerprint(model: AdaptiveForSequenceClassification, splits: Sequence[TokenizedSplit]) -> str:
    """Name features: the same for the same frozen weights, options and tokens.

    The early heads' weights and the exit do not matter.
    """
    digest = hashlib.blake2b(encode(config_facts(model.config)), digest_size=8)
    early = tuple(f"heads.{depth}." for depth in model.head_depths[:-1])
    for name, weight in model.encoder.state_dict().items():
        if not name.startswith(early):
            digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    for split in splits:
        for values in (split.input_ids, split.offsets, split.token_type_ids):
            digest.update(b"/" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


class CachedFeatures:
    """The features of a split, read as they are asked for from records of ``CHUNK`` examples each."""

    def __init__(self, chunks: Sequence[np.ndarray]) -> None:
        self.chunks = chunks

    def __len__(self) -> int:
        """Return the number of examples."""
        return sum(map(len, self.chunks))

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """Return the records of some examples, in the order asked for."""
        records = np.empty(len(numbers), self.chunks[0].dtype)
        places, rows = np.divmod(numbers, CHUNK)
        for place in np.unique(places):
            here = places == place
            records[here] = self.chunks[place][rows[here]]
        return records


def cache_features(
    model: AdaptiveForSequenceClassification, split: TokenizedSplit, folder: Path, name: str, batch_size: int
) -> CachedFeatures:
    """Compute a split's features, or read those that are there: each file is whole, so a killed pass goes on.

    ``model`` is on the device that computes, and evaluated as it will be used, pruning included. The files of
    ``folder``, which is for one ``fingerprint``, begin with the split's ``name``.
    """
    chunks: list[np.ndarray] = []
    start, last_said, computed = time.monotonic(), time.monotonic(), 0
    for first in range(0, len(split), CHUNK):
        numbers = range(first, min(first + CHUNK, len(split)))
        path = folder / f"{name}-{first:08d}.npy"
        chunk = _read(path, len(numbers), feature_type(model))
        if chunk is None:
            with replacing(path) as partial, partial.open("wb") as handle:
                np.save(handle, _compute(model, split, numbers, batch_size))
            chunk = np.load(path, mmap_mode="r")
            computed += len(numbers)
        chunks.append(chunk)
        if time.monotonic() - last_said > SAY_EVERY:
            last_said = time.monotonic()
            log.info("features of %s: %d of %d examples", name, numbers.stop, len(split))
    rate = computed / max(time.monotonic() - start, 1e-9)
    log.info("features of %s: %d examples computed (%.0f/s), %d read", name, computed, rate, len(split) - computed)
    return CachedFeatures(chunks)


@contextmanager
def pooled_rows(model: AdaptiveForSequenceClassification) -> Iterator[list[Float[Tensor, "batch dim"]]]:
    """Collect, in the order of depths, what the heads of one forward pass read."""
    collected: list[Tensor] = []

    def collect(module: nn.Module, inputs: tuple[Tensor]) -> None:
        collected.append(inputs[0])

    handles = [head.get_submodule("before").register_forward_pre_hook(collect) for head in model.encoder.heads.values()]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def _compute(
    model: AdaptiveForSequenceClassification, split: TokenizedSplit, numbers: range, batch_size: int
) -> np.ndarray:
    model.eval()
    records = np.empty(len(numbers), feature_type(model))
    collate, device = PackingCollator(split), next(model.parameters()).device
    for rows in batches_in_order(len(numbers), batch_size):
        batch = collate([numbers[row] for row in rows])
        inputs = {key: batch[key].to(device) for key in ("input_ids", "token_type_ids") if key in batch}
        with pooled_rows(model) as pooled:
            output = model(**inputs, lengths=batch["lengths"], trace=True)
        here = records[rows[0] : rows[-1] + 1]
        here["pooled"] = torch.stack(pooled[:-1], dim=1).cpu().numpy()
        here["final_logits"] = output.logits.cpu().numpy()
        here["tokens_kept"] = output.tokens_kept.cpu().numpy()
    return records


def _read(path: Path, length: int, kind: np.dtype) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        records: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        log.warning("features are computed anew: %s cannot be read (%s)", path, error)
        return None
    return records if records.dtype == kind and len(records) == length else None
