"""AdamW as transformers are trained: no decay where it only hurts, one fused kernel where there is one."""

import re
from collections.abc import Callable, Sequence

from torch import nn
from torch.optim import AdamW

from eat.checks import number, shown

_FUSED_DEVICES = ("cpu", "cuda")
_BLOCK, _EMBEDDINGS = re.compile(r"(?:^|\.)blocks\.(\d+)(?:\.|$)"), re.compile(r"(?:^|\.)embeddings(?:\.|$)")
"""Where the encoder's layers, numbered from 0, and its embeddings lie in a model."""


def adamw(
    model: nn.Module, lr: float, weight_decay: float, betas: Sequence[float], eps: float, layer_decay: float = 1.0
) -> AdamW:
    """Build AdamW over the trainable parameters; biases and norms are not decayed.

    Parameters are taken where they are: move the model to its device first. Those of a module that says so by an
    attribute ``learning_rate`` (scores of weights that are pruned) learn at that rate, without decay.

    Args:
        model: The classifier.
        lr: Peak of the learning rate.
        weight_decay: Decoupled, of matrices and embeddings.
        betas: Of the two moving averages.
        eps: Added to the root of the second.
        layer_decay: Factor on the learning rate from each layer to the one below it (ELECTRA's fine-tuning, Clark et
            al. 2020): the last layer learns at lr, the one at depth d of n at lr * layer_decay^(n - d), embeddings at
            lr * layer_decay^n; all heads at lr. 1 is off.

    Raises:
        ValueError: If a value is out of range.
    """
    number("optimizer.lr", lr, at_least=0)
    number("optimizer.weight_decay", weight_decay, at_least=0)
    number("optimizer.eps", eps, above=0)
    number("optimizer.layer_decay", layer_decay, above=0, at_most=1)
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise ValueError(f"optimizer.betas: expected two numbers, such as [0.9,0.999], got {shown(betas)}")
    for beta in betas:
        number("optimizer.betas", beta, at_least=0, below=1)
    layers = _layers_below_heads(model)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {(0, True): [], (0, False): []}
    apart: dict[float, list[nn.Parameter]] = {}
    held: set[nn.Parameter] = set()  # shared parameters stand once
    for path, module in model.named_modules():
        norm = isinstance(module, (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase))
        below = 0 if layer_decay == 1 else layers(path)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in held:
                held.add(parameter)
                if (rate := getattr(module, "learning_rate", None)) is not None:
                    apart.setdefault(rate, []).append(parameter)
                    continue
                groups.setdefault((below, not (norm or name.endswith("bias"))), []).append(parameter)
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in held)
    options = [
        {"params": group, "lr": lr * layer_decay**below, "weight_decay": weight_decay if decayed else 0.0}
        for (below, decayed), group in groups.items()
    ]
    options += [{"params": group, "lr": rate, "weight_decay": 0.0} for rate, group in apart.items()]
    return AdamW(options, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=fused)


def _layers_below_heads(model: nn.Module) -> Callable[[str], int]:
    """Return what says how many layers lie between a module, by its path, and the top of the last layer."""
    depths = [int(found[1]) for path, _ in model.named_modules() if (found := _BLOCK.search(path))]
    num_layers = max(depths, default=-1) + 1

    def below(path: str) -> int:
        if _EMBEDDINGS.search(path):
            return num_layers
        found = _BLOCK.search(path)
        return num_layers - 1 - int(found[1]) if found else 0

    return below
