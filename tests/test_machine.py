"""What the machine says about itself, and None where it says nothing."""

import subprocess

import pytest
import torch

from eat import machine


def test_the_host_is_described() -> None:
    facts = machine.describe_host()
    assert set(facts) == {"cpu", "instructions", "cpu_cores", "memory_gib", "load_average", "system"}
    assert facts["cpu"]
    assert facts["cpu_cores"] >= 1


def test_only_a_device_that_is_there_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [machine.device_name("device", name) for name in ("auto", "cpu", "cuda", "cuda:1", "cpu:0")] == [
        *("auto", "cpu", "cuda", "cuda:1", "cpu:0")
    ]
    for name in ("cuda:2", "meta", "foo", 3):
        with pytest.raises(ValueError, match=r"^device: expected auto, cpu or "):
            machine.device_name("device", name)
        with pytest.raises(ValueError, match=r"^device: expected auto, cpu or "):
            machine.chosen_device(str(name))


def test_no_gpu_no_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.gpu_clocks() is None


def test_clocks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "550.1, 1980 MHz, 1980 MHz, 3201 MHz, 700.00 W\n"
    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    monkeypatch.setattr(machine.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, answer, ""))
    assert machine.gpu_clocks() == (
        "driver_version 550.1 clocks.sm 1980 MHz clocks.max.sm 1980 MHz clocks.mem 3201 MHz power.limit 700.00 W"
    )

    def fails(*arguments: object, **options: object) -> None:
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(machine.subprocess, "run", fails)
    assert machine.gpu_clocks() is None
