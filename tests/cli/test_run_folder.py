"""The folder of a run: what is written there and who may write."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from keras_moe.cli.run_folder import RunFolder
from keras_moe.cli.run_folder import written_whole

# Files only.
pytestmark = pytest.mark.once


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")

    def fail():
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_write_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "model.keras"
    with written_whole(path) as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_a_folder_is_free_again_afterwards(tmp_path):
    folder = RunFolder(tmp_path / "new" / "run")
    for name in ("one", "two"):
        with folder.held():
            (folder.path / name).touch()
    assert sorted(os.listdir(folder.path)) == ["one", "two"]


def test_a_run_that_was_refused_leaves_no_new_folder(tmp_path):
    with pytest.raises(KeyError), RunFolder(tmp_path / "run").held():
        raise KeyError
    assert os.listdir(tmp_path) == []
    (tmp_path / "own").mkdir()
    with pytest.raises(KeyError), RunFolder(tmp_path / "own").held():
        raise KeyError
    assert os.listdir(tmp_path) == ["own"]


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    hold = f"""
import fcntl, os
fcntl.flock(os.open({str(tmp_path)!r}, os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match="no other process.*--run-dir"),
            RunFolder(tmp_path).held(),
        ):
            pass
        other.kill()
    # The lock died with its process.
    with RunFolder(tmp_path).held():
        pass


def test_what_a_killed_run_was_writing_is_removed(tmp_path):
    (tmp_path / ".writing-12345-model.keras").write_text("half")
    (tmp_path / ".writing-folder").mkdir()
    (tmp_path / ".writing-folder" / "file").touch()
    (tmp_path / "model.keras").write_text("whole")
    with RunFolder(tmp_path).held():
        # Keras' temporary folders go with this one.
        scratch = pathlib.Path(tempfile.gettempdir())
        assert sorted(os.listdir(tmp_path)) == [scratch.name, "model.keras"]
    assert os.listdir(tmp_path) == ["model.keras"]
    assert tempfile.gettempdir() != str(scratch)


def test_clearing_removes_the_run_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.holds_a_run()
    folder.logs.mkdir()
    for file in (
        folder.model,
        folder.checkpoint,
        folder.logs / "events.out.tfevents.1.host",
        folder.logs / "notes.txt",
        folder.path / "notes.txt",
    ):
        file.touch()
    assert folder.holds_a_run()
    folder.clear()
    assert not folder.holds_a_run()
    assert os.listdir(folder.logs) == ["notes.txt"]
    assert sorted(os.listdir(tmp_path)) == ["logs", "notes.txt"]


def test_steps_of_orbax_are_a_checkpoint_once_they_are_whole(tmp_path):
    steps = tmp_path / "checkpoints"
    (steps / "0.orbax-checkpoint-tmp").mkdir(parents=True)
    folder = RunFolder(tmp_path)
    assert folder.checkpoint == steps
    assert not folder.holds_a_run()
    (steps / "0").mkdir()
    assert folder.has_checkpoint()
    folder.clear()
    assert os.listdir(tmp_path) == []
