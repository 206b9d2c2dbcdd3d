"""AdamW as transformers are trained: no decay where it only hurts, one fused kernel where there is one."""

from collections.abc import Sequence

from torch import nn
from torch.optim import AdamW

from eat.checks import number, shown

_FUSED_DEVICES = ("cpu", "cuda")


def adamw(model: nn.Module, lr: float, weight_decay: float, betas: Sequence[float], eps: float) -> AdamW:
    """Build AdamW over the trainable parameters; biases and norms are not decayed.

    Parameters are taken where they are: move the model to its device first. ``lr`` is the peak of the learning rate,
    ``weight_decay`` is decoupled, of matrices and embeddings.

    Raises:
        ValueError: If a value is out of range.
    """
    number("optimizer.lr", lr, at_least=0)
    number("optimizer.weight_decay", weight_decay, at_least=0)
    number("optimizer.eps", eps, above=0)
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise ValueError(f"optimizer.betas: expected two numbers, such as [0.9,0.999], got {shown(betas)}")
    for beta in betas:
        number("optimizer.betas", beta, at_least=0, below=1)
    decays: dict[nn.Parameter, bool] = {}  # shared parameters stand once
    for module in model.modules():
        norm = isinstance(module, (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase))
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                decays.setdefault(parameter, not (norm or name.endswith("bias")))
    decayed = {"params": [parameter for parameter in decays if decays[parameter]], "weight_decay": weight_decay}
    spared = {"params": [parameter for parameter in decays if not decays[parameter]], "weight_decay": 0.0}
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in decays)
    return AdamW([decayed, spared], lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=fused)
