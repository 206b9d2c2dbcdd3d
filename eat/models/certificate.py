"""What ties a certificate to a model: it holds for these weights, this configuration and this operating point alone."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import nn

from eat.models.config import AdaptiveConfig

NOT_COVERED = frozenset({"exit", "certificate"})
"""The operating point is compared by itself, and a certificate cannot name itself."""


def model_fingerprint(config: AdaptiveConfig, model: nn.Module) -> str:
    """Return 16 hex digits that name weights and configuration: all that answers follow from, but the exit.

    The SHA-256 over MiniLM-L6's 91 MB takes about a tenth of a second.

    Args:
        config: Every key of ours but those of `NOT_COVERED` counts, and the labels.
        model: Its parameters and buffers, by name; their values and dtype count, not their device or memory layout.
    """
    own = (key for key in AdaptiveConfig.__annotations__ if key not in NOT_COVERED)
    kept = {key: getattr(config, key) for key in (*own, "id2label", "problem_type")}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
