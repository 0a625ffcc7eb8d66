"""Folders of processes that are gone are removed, others are not."""

import contextlib
import os
import subprocess
import sys
import tempfile

import pytest

from keras_moe.export import scratch_folder as module
from keras_moe.export.folder_lock import lock_folder
from keras_moe.export.folder_lock import locked_folder
from keras_moe.export.folder_lock import unlock_folder
from keras_moe.export.scratch_folder import remove_abandoned
from keras_moe.export.scratch_folder import scratch_folder
from keras_moe.export.scratch_folder import temporary_files_in

# Folders only.
pytestmark = pytest.mark.once


@contextlib.contextmanager
def another_process_holding(folder):
    """Locks a folder in a process that is then killed, as by `kill -9`."""
    program = f"""
import fcntl, os
fcntl.flock(os.open({str(folder)!r}, os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


def test_a_scratch_folder_goes_with_its_block(tmp_path):
    with scratch_folder(tmp_path, ".x-") as folder:
        (folder / "file").write_text("")
        assert os.listdir(tmp_path) == [folder.name]
    assert os.listdir(tmp_path) == []


def test_the_folder_of_a_killed_process_is_removed(tmp_path):
    folder = tmp_path / ".x-other"
    (folder / "deep").mkdir(parents=True)
    with another_process_holding(folder):
        remove_abandoned(tmp_path, ".x-")
        assert (folder / "deep").is_dir()
    remove_abandoned(tmp_path, ".x-")
    assert not folder.exists()


def test_the_folder_of_this_process_is_not_removed(tmp_path):
    with scratch_folder(tmp_path, ".x-") as folder:
        remove_abandoned(tmp_path, ".x-")
        assert folder.is_dir()


def test_only_folders_of_the_prefix_are_removed(tmp_path):
    for name in ("1", ".y-other", ".x-abandoned"):
        (tmp_path / name).mkdir()
    (tmp_path / ".x-file").write_text("")
    rescued = []
    remove_abandoned(tmp_path, ".x-", rescue=rescued.append)
    assert rescued == [tmp_path / ".x-abandoned"]
    assert sorted(os.listdir(tmp_path)) == [".x-file", ".y-other", "1"]
    remove_abandoned(tmp_path / "nowhere", ".x-")


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    (tmp_path / ".x-other").mkdir()
    remove_abandoned(tmp_path, ".x-")
    with scratch_folder(tmp_path, ".x-") as folder, locked_folder(tmp_path):
        assert folder.is_dir()
    assert os.listdir(tmp_path) == [".x-other"]


def test_a_folder_taken_before_it_was_locked_is_made_again(
    tmp_path, monkeypatch
):
    taken = []

    def lock(folder):
        if not taken:
            # Another process cleans up right now.
            taken.append(folder)
            os.rmdir(folder)
        return lock_folder(folder)

    monkeypatch.setattr(module, "lock_folder", lock)
    with scratch_folder(tmp_path, ".x-") as folder:
        assert os.listdir(tmp_path) == [folder.name]
        assert taken != [folder]


def test_a_folder_is_locked_once(tmp_path):
    lock = lock_folder(tmp_path)
    with pytest.raises(BlockingIOError):
        lock_folder(tmp_path)
    unlock_folder(lock)
    with locked_folder(tmp_path), pytest.raises(BlockingIOError):
        lock_folder(tmp_path)
    unlock_folder(lock_folder(tmp_path))


def test_temporary_files_are_redirected_for_a_while(tmp_path):
    before = tempfile.gettempdir()
    with temporary_files_in(tmp_path):
        assert tempfile.mkdtemp().startswith(str(tmp_path))
    assert tempfile.gettempdir() == before
