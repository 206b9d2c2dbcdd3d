"""Freed memory goes back to the system every few steps of a training on the CPU."""

import platform

import pytest

from eat.training import memory
from tests.training.shared import train


def test_the_heap_is_trimmed_every_few_steps(tmp_path, monkeypatch):
    trims = []
    monkeypatch.setattr(memory, "EVERY", 2)
    monkeypatch.setattr(memory, "heap_trim", lambda: trims.append)
    module, *_ = train(tmp_path)
    steps = module.steps_per_epoch
    assert steps >= 2 and trims == [0] * (2 * (steps // 2)), "in each of two epochs"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_can_trim():
    assert memory.heap_trim()(0) in (0, 1)


def test_where_the_allocator_cannot_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "EVERY", 1)
    monkeypatch.setattr(memory, "heap_trim", lambda: None)
    train(tmp_path)
