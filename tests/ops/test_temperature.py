"""Temperature scaling: the minimum against a grid, cases with a known answer, and what cannot be fitted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eat.ops.temperature import MAX_TEMPERATURE, fit_temperature


def drawn(scale: float, examples: int = 4000, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw labels from softmax(logits), and return the logits multiplied by ``scale``: the right T is ``scale``."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(examples, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return scale * logits, labels


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_recovers_what_the_logits_were_multiplied_by(scale: float) -> None:
    assert fit_temperature(*drawn(scale)) == pytest.approx(scale, rel=0.06)


@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_no_temperature_of_a_grid_is_better(scale: float) -> None:
    logits, labels = drawn(scale, examples=300)
    found = fit_temperature(logits.float(), labels)
    least = F.cross_entropy(logits / found, labels)
    grid = np.geomspace(1 / MAX_TEMPERATURE, MAX_TEMPERATURE, 400)
    assert all(F.cross_entropy(logits / temperature, labels) >= least - 1e-12 for temperature in grid)


def test_perfect_and_hopeless_heads_stay_as_they_are() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    logits = F.one_hot(labels, 2).double()
    assert fit_temperature(logits, labels) == fit_temperature(-logits, labels) == 1


def test_refuses_one_class_and_broken_logits() -> None:
    logits = torch.randn(4, 2)
    with pytest.raises(ValueError, match=r"two classes or more, got \[1\]"):
        fit_temperature(logits, torch.ones(4, dtype=torch.long))
    logits[0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(logits, torch.tensor([0, 1, 0, 1]))
