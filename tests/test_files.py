"""Files are whole or as they were."""

import errno

import pytest
import torch

from eat.files import read_object, replacing, replacing_folder, write_text
from eat.training.checkpoints import AtomicCheckpointIO


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"could not write .*file.txt \(No space left on device\); .* is kept") as caught:
        fail()
    assert caught.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


@pytest.fixture
def small_files():
    """Make writing beyond 100,000 bytes fail, as a full disk does."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
def test_a_checkpoint_that_does_not_fit_keeps_the_old_one(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    with pytest.raises(OSError, match=r"could not write .*last.ckpt .* is kept"):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(100_000)}, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    with pytest.raises(OSError, match="nothing was left there"):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(100_000)}, tmp_path / "best.ckpt")


def test_a_folder_is_there_whole_or_as_it_was(tmp_path):
    folder = tmp_path / "new" / "tokenizer"
    with replacing_folder(folder, last="b") as partial:
        (partial / "a").write_text("one")
    with pytest.raises(FileNotFoundError), replacing_folder(folder, last="b") as partial:
        (partial / "missing" / "a").write_text("half")
    assert [path.name for path in folder.parent.iterdir()] == ["tokenizer"]
    assert (folder / "a").read_text() == "one"
    (folder.parent / "tokenizer.partial").mkdir()  # of a process that was killed
    with replacing_folder(folder, last="b") as partial:
        (partial / "b").write_text("two")
    assert [path.name for path in folder.parent.iterdir()] == ["tokenizer"]
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "one", "b": "two"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused_in_a_line(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json( is no readable JSON|: expected a JSON object)") as caught:
        read_object(tmp_path / "x.json")
    assert "\n" not in str(caught.value)
