"""Say which process works in a folder, so that nobody else cleans it up.

The lock is the kernel's (`flock`) and belongs to the open folder: it leaves no
file behind and ends with its process, whatever ends that.
"""

import contextlib
import fcntl
import os


def lock_folder(folder):
    """Take a folder for this process, if no other process has it.

    Args:
        folder: path of a folder that exists.

    Returns:
        An int to pass to `unlock_folder`.

    Raises:
        BlockingIOError: If a living process holds the folder.
        OSError: If the folder is gone or its file system has no locks.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def unlock_folder(lock):
    """Give a folder back; it may have been removed meanwhile.

    Args:
        lock: int from `lock_folder`.
    """
    os.close(lock)


@contextlib.contextmanager
def locked_folder(folder):
    """Hold a folder for the length of a `with` block.

    Where the file system knows no locks, the block runs without one.

    Args:
        folder: path of a folder that exists.

    Raises:
        BlockingIOError: If a living process holds the folder.
    """
    try:
        lock = lock_folder(folder)
    except BlockingIOError:
        raise
    except OSError:
        yield
        return
    try:
        yield
    finally:
        unlock_folder(lock)
