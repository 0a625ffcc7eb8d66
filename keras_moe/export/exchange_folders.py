"""Swap two folders in one step, so that neither is ever missing."""

import ctypes
import os

# Of Linux: fcntl.h and linux/fs.h.
AT_FDCWD = -100
RENAME_EXCHANGE = 2


def exchange_folders(first, second):
    """Give two folders of one file system each other's name.

    Args:
        first: path of a folder.
        second: path of another one.

    Returns:
        bool, whether it was done. Some kernels and file systems cannot.

    References:
        https://man7.org/linux/man-pages/man2/rename.2.html (renameat2).
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = [ctypes.c_char_p(os.fsencode(each)) for each in (first, second)]
    result = renameat2(
        AT_FDCWD, names[0], AT_FDCWD, names[1], ctypes.c_uint(RENAME_EXCHANGE)
    )
    return result == 0
