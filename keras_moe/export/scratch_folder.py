"""Temporary folders that the next run removes if this one is killed."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from keras_moe.export.folder_lock import lock_folder
from keras_moe.export.folder_lock import unlock_folder


@contextlib.contextmanager
def scratch_folder(parent, prefix):
    """Make a folder for the length of a `with` block.

    The folder is locked meanwhile. A process that is killed leaves it behind,
    unlocked, and `remove_abandoned` of another process finds it.

    Args:
        parent: path of a folder that exists.
        prefix: str, the beginning of the new folder's name.

    Yields:
        `pathlib.Path`.

    Raises:
        OSError: If `parent` cannot be written.
    """
    folder, lock = _make_locked(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            unlock_folder(lock)


def remove_abandoned(parent, prefix, rescue=None):
    """Remove the scratch folders whose processes are gone.

    A folder that a living process holds is left alone, and so is every folder
    where the file system knows no locks.

    Args:
        parent: path of the folder that holds them; it need not exist.
        prefix: str, as for `scratch_folder`.
        rescue: optional function that is called with the `pathlib.Path` of
            each of them before it is removed.
    """
    for folder in pathlib.Path(parent).glob(f"{prefix}*"):
        try:
            lock = lock_folder(folder)
        except OSError:
            continue
        try:
            if rescue is not None:
                rescue(folder)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            unlock_folder(lock)


@contextlib.contextmanager
def temporary_files_in(folder):
    """Send this process's temporary files to a folder for a while.

    Keras makes temporary folders when it saves a model. In a scratch folder
    they go when it goes, even if the process is killed.

    Args:
        folder: path of a folder that exists.
    """
    before = tempfile.tempdir
    tempfile.tempdir = os.fspath(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _make_locked(parent, prefix):
    """Make a folder and lock it; the lock is `None` where there are none."""
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = lock_folder(folder)
        except (BlockingIOError, FileNotFoundError):
            # Another process took it for abandoned before it was locked.
            continue
        except OSError:
            return folder, None
        if folder.exists():
            return folder, lock
        unlock_folder(lock)
