"""The trainer that a configuration asks for."""

import pytest

from eat.training.trainer import build_trainer


@pytest.mark.parametrize("max_steps", [None, -1])
def test_no_limit_of_steps_may_be_said_either_way(max_steps):
    trainer = build_trainer(
        accelerator="cpu", precision="auto", threads=None, max_epochs=1, max_steps=max_steps, logger=False
    )
    assert trainer.max_steps == -1 and trainer.max_epochs == 1
