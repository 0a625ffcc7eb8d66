"""Tensors of a safetensors file, without reading more than is asked for."""

import json
import math
import os
from typing import NamedTuple

import ml_dtypes
import numpy as np

# The format's names, https://github.com/huggingface/safetensors (README).
DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
# The format's own limit.
LONGEST_HEADER = 100_000_000


class Entry(NamedTuple):
    """Where a tensor lies: dtype, shape, first byte."""

    dtype: np.dtype
    shape: tuple
    start: int

    @property
    def nbytes(self):
        return self.dtype.itemsize * math.prod(self.shape)


class SafetensorsFile:
    """One file; tensors are read when they are asked for.

    The published reader gives NumPy no 8-bit floats, hence this one.

    Args:
        path: of the file.

    Raises:
        ValueError: If the file is truncated or its header does not describe
            it; nothing is read then.
    """

    def __init__(self, path):
        self.path = path
        self.entries = _read_header(path)

    def read(self, name):
        """Return a tensor.

        Args:
            name: of the tensor.

        Returns:
            NumPy array that reads the file where it is looked at.
        """
        entry = self.entries[name]
        if entry.nbytes == 0:
            return np.zeros(entry.shape, entry.dtype)
        stored = np.memmap(
            self.path, np.uint8, "r", offset=entry.start, shape=(entry.nbytes,)
        )
        return stored.view(entry.dtype).reshape(entry.shape)


def _read_header(path):
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise _damaged(path, f"a header of {length} bytes in {size}")
        header = file.read(length)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        return {
            name: _entry(entry, 8 + length, size)
            for name, entry in entries.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error


def _entry(entry, data_start, file_size):
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"dtype {entry['dtype']!r}, known: {[*DTYPES]}")
    shape = tuple(entry["shape"])
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"shape {shape}")
    start, end = (data_start + offset for offset in entry["data_offsets"])
    found = Entry(np.dtype(DTYPES[entry["dtype"]]), shape, start)
    if start < data_start or end > file_size or end - start != found.nbytes:
        raise ValueError(
            f"{shape} numbers of type {entry['dtype']} at bytes {start} to "
            f"{end} of {file_size}"
        )
    return found


def _damaged(path, what):
    return ValueError(
        f"Expected a whole safetensors file. Received: {path} with {what}. "
        "Download it again."
    )
