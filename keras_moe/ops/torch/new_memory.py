"""Memory for large results on PyTorch."""

import ctypes
import mmap
import sys
from typing import Any

import torch

HUGE_PAGE = 2**21
_MADV_HUGEPAGE = getattr(mmap, "MADV_HUGEPAGE", None)
_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def new_memory(shape, like):
    """Allocate an uninitialized tensor that is about to be filled.

    On a CPU, PyTorch returns large tensors to the system when they are
    freed, so each step takes a page fault for every 4 KiB of the experts'
    gradients; that took as long as half of the products. Linux is asked for
    pages of 2 MiB instead (measured: 134 MB filled in 19 ms, not 49; a layer
    of 128 experts takes 1.2 times as long without). `never` in
    `/sys/kernel/mm/transparent_hugepage/enabled` switches that off.

    Args:
        shape: of the tensor.
        like: tensor that gives dtype and device.

    Returns:
        Uninitialized tensor.

    Example:

    >>> import torch
    >>> tuple(new_memory((2, 3), torch.ones(1)).shape)
    (2, 3)
    """
    tensor = like.new_empty(shape)
    # A fake tensor may have no number of bytes: `torch.export` leaves it open.
    if _MADV_HUGEPAGE and not _is_fake(tensor):
        if tensor.nbytes >= 2 * HUGE_PAGE and tensor.device.type == "cpu":
            _advise_huge_pages(tensor)
    return tensor


def _advise_huge_pages(tensor):
    # Advice, no promise: what a kernel answers does not matter.
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = tensor.data_ptr() + tensor.nbytes - start
    _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_HUGEPAGE)


def _is_fake(tensor):
    return torch.compiler.is_compiling() or type(tensor) is not torch.Tensor
