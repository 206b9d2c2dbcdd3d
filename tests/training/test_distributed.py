"""Two processes that share a training take the steps of one, and start, stop and fail together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from eat.data.sampler import EpochBatchSampler, batches_in_order
from eat.training.trainer import build_trainer
from tests.training import shared
from tests.training.made import CONF
from tests.training.small import make_module

ROOT = Path(__file__).parents[2]
RUNS = [*shared.OBJECTIVES, *shared.MORE]


def environment(rank, port):
    """Return the variables that torchrun sets, of one of two processes."""
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": "test"}
    named |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return os.environ | {name: str(value) for name, value in named.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of trainings by two processes, and by one."""
    folder, port = tmp_path_factory.mktemp("shared"), find_free_network_port()
    with pytest.raises(shared.KilledError):  # to be resumed by two
        shared.train(folder / "resumed_by_two", shared.At(4, shared.die))
    command = [sys.executable, "-m", "tests.training.shared", str(folder)]
    with (folder / "said.txt").open("w") as said:
        processes = [
            subprocess.Popen(command, cwd=ROOT, env=environment(rank, port), stdout=said, stderr=said)
            for rank in range(2)
        ]
        try:
            codes = [process.wait(timeout=600) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    assert codes == [0, 0], (folder / "said.txt").read_text()
    shared.train_all(folder / "one")
    return folder


def test_every_objective_is_tried():
    assert set(shared.OBJECTIVES) == {path.stem for path in (CONF / "objective").glob("*.yaml")}


def close(weights, others):
    torch.testing.assert_close(weights, others, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_end_with_the_weights_of_one(folder, name):
    alone, first, second = (shared.noted(folder / place / name, rank) for place, rank in _ends())
    close(first["weights"], alone["weights"])
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    assert first["facts"] == second["facts"] == alone["facts"]


def _ends():
    return ("one", 0), ("two", 0), ("two", 1)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_log_what_one_does(folder, name):
    alone, together = (shared.rows(folder / place / name) for place in ("one", "two"))
    assert len(alone) == len(together) >= 6
    for row, other in zip(alone, together, strict=True):
        assert row == pytest.approx(other, abs=1e-4)
        for measured in (key for key in row if key.startswith("val/accuracy")):  # counted, not averaged
            assert row[measured] == other[measured]


def test_validation_averages_over_examples(folder):
    data, module = shared.SharedData(), make_module(dropout=0.0)
    module.model.load_state_dict(shared.noted(folder / "one" / "joint")["weights"])
    batch = data.collate(list(range(shared.EXAMPLES)))
    with torch.no_grad():
        output = module.model.eval()(batch["input_ids"], lengths=batch["lengths"], head_depths=(2, 3))
    loss = torch.nn.functional.cross_entropy(output.all_logits[:, -1], batch["labels"])
    for place in ("one", "two"):
        logged = shared.rows(folder / place / "joint")[-1]
        assert logged["val/loss"] == pytest.approx(loss.item(), abs=1e-5)
        assert logged["val/retention"] == pytest.approx(output.retention.mean().item(), abs=1e-5)


def test_a_training_goes_on_with_other_processes_than_it_began_with(folder):
    alone = shared.noted(folder / "one" / "joint")
    for place, ended in (
        ("resumed_by_two", shared.noted(folder / "resumed_by_two", 1)),
        ("killed", _ended_by_one(folder / "killed")),
    ):
        close(ended["weights"], alone["weights"])
        assert ended["facts"] == alone["facts"], place


def _ended_by_one(folder):
    shared.note(shared.train(folder), folder)
    return shared.noted(folder)


def test_all_stop_where_one_meets_no_number_or_a_signal(folder):
    told, other = (json.loads((folder / f"told{rank}.json").read_text()) for rank in range(2))
    assert told == other
    ((number, batch),) = ((number, batch) for number, batch in enumerate(_first_epoch()) if 13 in batch)
    assert {name: step for name, (step, _) in told.items()} == {"killed": 4, "no_number": number, "stopped": 3}
    last = torch.load(folder / "stopped" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3  # written before they stopped
    message = told["no_number"][1]
    assert "the loss is nan" in message and all(str(example) in message for example in batch)


def _first_epoch():
    data = shared.SharedData()
    lengths = torch.tensor([len(sentence) for sentence in data.sentences]).numpy()
    return list(EpochBatchSampler(lengths, shared.BATCH))


@pytest.mark.parametrize(("num_examples", "batch_size", "world_size"), [(21, 4, 2), (22, 4, 4), (9, 8, 3), (3, 2, 4)])
def test_each_example_counts_once_and_all_take_the_same_steps(num_examples, batch_size, world_size):
    lengths = torch.arange(num_examples).numpy()
    whole = list(EpochBatchSampler(lengths, batch_size))
    samplers = [EpochBatchSampler(lengths, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    parts = [list(sampler) for sampler in samplers]
    for number, batch in enumerate(whole):
        counts = dict.fromkeys(range(num_examples), 0.0)
        for sampler, part in zip(samplers, parts, strict=True):
            for example in part[number]:  # of the mean over processes of the means over parts
                counts[example] += sampler.weight(number) / len(part[number]) / world_size
        assert counts == pytest.approx({i: (i in batch) / len(batch) for i in range(num_examples)})
    assert {len(part) for part in parts} == {len(whole)}


@pytest.mark.parametrize(("num_examples", "batch_size", "world_size"), [(21, 4, 2), (5, 64, 4), (64, 64, 2), (7, 2, 1)])
def test_validation_is_shared_without_padding(num_examples, batch_size, world_size):
    parts = [batches_in_order(num_examples, batch_size, rank, world_size) for rank in range(world_size)]
    assert sorted(i for part in parts for batch in part for i in batch) == list(range(num_examples))
    assert all(parts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": "auto", "strategy": "ddp"}, r"trainer.devices: expected several for trainer=ddp, found 1 \(cpu\)"),
        ({"devices": 2, "num_nodes": 2}, "trainer.num_nodes: expected 1, got 2: .* torchrun or srun"),
        ({"num_nodes": 0}, "trainer.num_nodes: expected an integer of 1 or more"),
        ({"strategy": "fsdp"}, "trainer.strategy: expected one of"),
        ({"use_distributed_sampler": True}, "trainer.use_distributed_sampler: expected false, got True"),
    ],
)
def test_devices_that_fit_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


@pytest.mark.parametrize("devices", [1, 3])
def test_devices_are_as_many_as_the_processes_that_were_started(monkeypatch, devices):
    for name, value in environment(0, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"trainer.*: .* 2 processes|trainer: .*2"):
        _build(devices=devices)
    assert _build(devices="auto", strategy="ddp").world_size == 2


def _build(**options):
    return build_trainer(accelerator="cpu", precision="auto", threads=1, max_epochs=1, logger=False, **options)
