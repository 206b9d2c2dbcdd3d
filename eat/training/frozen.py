"""Freeze everything but the early heads."""

from torch.optim import Optimizer

from eat.models.classifier import AdaptiveForSequenceClassification


def set_frozen(model: AdaptiveForSequenceClassification, optimizer: Optimizer, frozen: bool) -> None:
    """Freeze embeddings, blocks and final head, or train them again; early heads are always trained.

    Frozen parts run without dropout, and their weights ask for no gradient: no graph is recorded through them, and an
    optimiser leaves them alone, weight decay included. Cheap where nothing changes, so that each step can say it.

    Args:
        model: The classifier, in training mode.
        optimizer: Only the weights that it holds are touched: what a user froze for good stays frozen.
        frozen: True to freeze.
    """
    encoder = model.encoder
    if encoder.blocks.training != frozen:
        return
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for part in (encoder.embeddings, encoder.blocks, encoder.heads[str(model.num_layers)]):
        part.train(not frozen)
        for parameter in held.intersection(part.parameters()):
            parameter.requires_grad_(not frozen)
