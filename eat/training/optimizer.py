"""AdamW as transformers are trained: no decay where it only hurts, one fused kernel where there is one."""

from collections.abc import Iterator, Sequence

from torch import nn
from torch.optim import AdamW

_FUSED_DEVICES = ("cpu", "cuda")


def adamw(model: nn.Module, lr: float, weight_decay: float, betas: Sequence[float], eps: float) -> AdamW:
    """Build AdamW over the trainable parameters; biases and norms are not decayed.

    Parameters are taken where they are: move the model to its device first. ``lr`` is the peak of the learning rate,
    ``weight_decay`` is decoupled, of matrices and embeddings.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter, decays in _parameters(model):
        (decayed if decays else spared).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in decayed + spared)
    return AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=fused)


def _parameters(model: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    """Yield each trainable parameter once, and whether it is decayed: weights of norms and all biases are not."""
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        norm = isinstance(module, (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase))
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield parameter, not (norm or name.endswith("bias"))
