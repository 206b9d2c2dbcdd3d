"""CTranslate2 as a contender: the dense encoder converted, in float32 and in int8 with a scale a row.

It takes lists of token ids, pads them itself and computes without the padding. It has encoders and no classifiers: the
head is ours, on its last hidden states.
"""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from eat.backbones import build_backbone
from eat.benchmark.engines.engine import Call, Encoded, Engine, Saved, Source, for_threads, missing, on_host, quiet
from eat.modules.heads import Head

CONVERTERS = {"bert": "BertLoader", "distilbert": "DistilBertLoader"}
ACTIVATIONS = ("gelu", "gelu_new", "relu")
FOLDERS = {"float32": "ctranslate2", "int8": "ctranslate2_int8"}
HEAD = ("head.json", "head.safetensors")
SPINS = "20000"
"""Turns that a thread waits busily for work, about a millisecond: enough within a call. By default it is several
milliseconds, which would be taken from the next contender."""


@dataclasses.dataclass(frozen=True)
class CTranslate2(Engine):
    """The dense encoder converted from the weights as trained, with the last head in torch."""

    def why_not(self, device: torch.device) -> str | None:
        """Say that the package is missing, that this is no CPU, or that the processor cannot do the type."""
        reason = missing(("ctranslate2",), "peers", device)
        if reason is not None:
            return reason
        able = sorted(_ctranslate2().get_supported_compute_types("cpu"))
        if self.dtype in able:
            return None
        return f"this processor cannot do {self.dtype} in CTranslate2; it does {', '.join(able)}"

    def cannot(self, source: Source) -> str | None:
        """Say that the encoder is of a kind that is not converted."""
        kind, activation = (source.trained.config.backbone or {})["name"], source.trained.backbone.activation
        if kind not in CONVERTERS:
            return f"converted are {' and '.join(CONVERTERS)}, and this is {kind}"
        known = activation in ACTIVATIONS
        return None if known else f"converted are the activations {', '.join(ACTIVATIONS)}, and this has {activation}"

    def save(self, source: Source, folder: Path, name: str) -> Saved:
        """Convert the model, unless that was done before."""
        reason = self.cannot(source)
        if reason is not None:
            raise ValueError(f"{name}: {reason}")
        place = folder / FOLDERS[str(self.dtype)]
        if not place.exists():
            place.mkdir()
            convert(source, place, str(self.dtype))
            save_head(source, place)
        return Saved(engine=name, path=str(place), pad_token_id=source.trained.backbone.pad_token_id)

    def call(self, source: Source | Saved) -> Call:
        """Answer from the converted files."""
        if isinstance(source, Source):
            raise TypeError("CTranslate2 answers from converted files: expected what `save` returned, got a model")
        return ctranslate2_call(Path(source.path), str(self.dtype))


def convert(source: Source, folder: Path, dtype: str) -> None:
    """Convert the encoder without a head; its vocabulary is never used and holds numbers."""
    with quiet(), torch.no_grad():
        _ctranslate2()
        from ctranslate2.converters import transformers as converters

        theirs = source.trained.to_hugging_face().float().cpu().base_model
        theirs.config.position_embedding_type = "absolute"  # the converter asks; transformers 5 knows no other
        parts = SimpleNamespace(config=theirs.config, **dict(theirs.named_children()))
        parts.pooler = SimpleNamespace(dense=torch.nn.Linear(1, 1))  # the converter asks for one
        loader = getattr(converters, CONVERTERS[theirs.config.model_type])()
        spec = loader.get_model_spec(parts)
        for unused in ("pooler_dense", "pooler_activation"):
            if hasattr(spec, unused):
                delattr(spec, unused)
        loader.set_config(spec.config, theirs, SimpleNamespace(unk_token="0"))
        spec.register_vocabulary([str(number) for number in range(theirs.config.vocab_size)])
        spec.validate()
        spec.optimize(quantization=dtype)
        spec.save(str(folder))


def save_head(source: Source, folder: Path) -> None:
    """Write the last head, and what it reads, beside the encoder."""
    model = source.trained
    head: Any = model.encoder.heads[str(model.num_layers)]
    facts = {
        "backbone": model.config.backbone,
        "reads": model.config.head_pooling(model.num_layers),
        "num_labels": model.config.num_labels,
        "temperature": float(head.temperature),
    }
    save_file({key: tensor.float().cpu().contiguous() for key, tensor in head.state_dict().items()}, folder / HEAD[1])
    (folder / HEAD[0]).write_text(json.dumps(facts), encoding="utf-8")


def load_head(folder: Path) -> tuple[Head, str]:
    """Read the last head, and whether it reads "cls" or "mean"."""
    facts = json.loads((folder / HEAD[0]).read_text(encoding="utf-8"))
    head = build_backbone(facts["backbone"]).head(facts["num_labels"], facts["reads"])
    head.load_state_dict(load_file(folder / HEAD[1]))
    head.temperature = facts["temperature"]
    return head.eval().requires_grad_(False), facts["reads"]


def ctranslate2_call(folder: Path, dtype: str) -> Call:
    """Answer batches of lists with CTranslate2, with as many threads as torch has at the time."""
    head, reads = load_head(folder)
    encoder = for_threads(lambda threads: _encoder(folder, threads, dtype))

    def call(batch: Sequence[Encoded]) -> Float[np.ndarray, "batch classes"]:
        ids = [list(example["input_ids"]) for example in batch]
        types = [list(e["token_type_ids"]) for e in batch] if "token_type_ids" in batch[0] else None
        read = encoder().forward_batch(ids, token_type_ids=types).last_hidden_state
        rows = torch.from_numpy(np.asarray(read))  # shares its memory
        return on_host(head.answer(rows[:, 0] if reads == "cls" else _mean(rows, list(map(len, ids)))))

    return call


def _mean(rows: Float[Tensor, "batch width dim"], lengths: Sequence[int]) -> Float[Tensor, "batch dim"]:
    """Return the mean of the real tokens, as one product: far cheaper than a masked sum."""
    width = rows.shape[1]
    if min(lengths) == width:
        return rows.mean(1)
    shares = torch.tensor([[1 / n] * n + [0.0] * (width - n) for n in lengths])
    return torch.bmm(shares.unsqueeze(1), rows).squeeze(1)


def _encoder(folder: Path, threads: int, dtype: str) -> Any:
    return _ctranslate2().Encoder(str(folder), device="cpu", inter_threads=1, intra_threads=threads, compute_type=dtype)


def _ctranslate2() -> Any:
    with quiet(), _short_spins(), _own_libraries():
        import ctranslate2

    return ctranslate2


@contextlib.contextmanager
def _short_spins() -> Iterator[None]:
    """Let the OpenMP library that is loaded meanwhile, CTranslate2's own copy, not wait busily for long."""
    given = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
    if not given:
        os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        if not given:
            del os.environ["GOMP_SPINCOUNT"]


@contextlib.contextmanager
def _own_libraries() -> Iterator[None]:
    """Let the library that is loaded meanwhile call its own copy of OpenMP, not torch's, which torch makes global.

    In one copy the threads of both are counted together: from the first call on there are more than cores, so that
    idle ones sleep at once, and every operator of torch with several threads waits for them to wake: on two cores
    int8 at batch 1 took three times as long.
    """
    deep = getattr(os, "RTLD_DEEPBIND", 0)  # glibc alone has it
    before = sys.getdlopenflags() if deep else 0
    if deep:
        sys.setdlopenflags(before | deep)
    try:
        yield
    finally:
        if deep:
            sys.setdlopenflags(before)
