"""Compiled blocks give the same answers, and one compilation serves every block and length."""

import shutil
import subprocess
import sys

import pytest

from tests.reference.tiny import batch_of, tiny_adaptive


def assert_compiled_equals_plain(device):
    run = subprocess.run(
        [sys.executable, "-m", "tests.reference.compiled", device], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on the CPU needs a C++ compiler: g++")
def test_compiled_blocks_answer_alike():
    assert_compiled_equals_plain("cpu")


@pytest.mark.gpu
def test_compiled_blocks_answer_alike_on_a_gpu():
    assert_compiled_equals_plain("cuda")


def test_each_model_runs_its_own_weights(monkeypatch):
    """One compiled pair serves all: it must take the block whose turn it is."""
    seen = []

    def project(block, rows):
        seen.append(block)
        return block.project(rows)

    monkeypatch.setattr("eat.modules.block.compiled_dense", lambda: (project, lambda block, *rows: block.finish(*rows)))
    model = tiny_adaptive()
    expected = model(*batch_of([5, 9])).logits
    assert seen == []
    model.compile_blocks()
    assert model(*batch_of([5, 9])).logits.equal(expected)
    assert seen == list(model.encoder.blocks)


def test_a_saved_model_knows_nothing_of_it(tmp_path):
    model = tiny_adaptive()
    names = list(model.state_dict())
    model.compile_blocks()
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    assert not any(block.compiled for block in type(model).from_pretrained(tmp_path).encoder.blocks)
