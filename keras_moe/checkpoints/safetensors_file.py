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
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "C64": np.complex64,
}
# The format's own limit.
LONGEST_HEADER = 100_000_000
# NumPy's limits.
MOST_AXES = 64
MOST_BYTES = 2**63 - 1


class Entry(NamedTuple):
    """Where a tensor lies.

    Attributes:
        dtype: NumPy dtype.
        shape: tuple of ints.
        start: its first byte in the file.
    """

    dtype: np.dtype
    shape: tuple
    start: int

    @property
    def nbytes(self):
        """Bytes of the tensor."""
        return self.dtype.itemsize * math.prod(self.shape)


class SafetensorsFile:
    """One file; tensors are read when they are asked for.

    The published reader gives NumPy no 8-bit floats, hence this one. The
    format (https://github.com/huggingface/safetensors, README): 8 bytes with
    the length of the header, a JSON header with dtype, shape and place of
    each tensor, then the tensors without gaps.

    Args:
        path: of the file.

    Attributes:
        path: of the file.
        entries: dict of tensor name -> `Entry`.

    Raises:
        ValueError: If the file is truncated or its header does not describe
            it; no tensor is read then.

    Example:

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> save_file({"scale": np.array([1.0, 2.0], "float32")}, path)
    >>> file = SafetensorsFile(path)
    >>> file.entries["scale"].shape
    (2,)
    >>> file.read("scale").tolist()
    [1.0, 2.0]
    """

    def __init__(self, path):
        self.path = path
        self.entries = _read_header(path)

    def read(self, name):
        """Return a tensor.

        Args:
            name: of the tensor.

        Returns:
            NumPy array that reads the file where it is looked at, and
            cannot be written to.

        Raises:
            KeyError: If there is no such tensor.
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
        entries = {
            name: _entry(entry, 8 + length, size)
            for name, entry in entries.items()
        }
        _check_gapless(entries, 8 + length, size)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise _damaged(path, error) from error
    return entries


def _entry(entry, data_start, file_size):
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"dtype {entry['dtype']!r}, known: {[*DTYPES]}")
    dtype = np.dtype(DTYPES[entry["dtype"]])
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _is_list_of_ints(shape) or not _fits_numpy(shape, dtype):
        raise ValueError(f"shape {shape}")
    if not _is_list_of_ints(offsets) or len(offsets) != 2:
        raise ValueError(f"data_offsets {offsets}")
    start, end = (data_start + offset for offset in offsets)
    found = Entry(dtype, tuple(shape), start)
    if start < data_start or end > file_size or end - start != found.nbytes:
        raise ValueError(
            f"{shape} numbers of type {entry['dtype']} at bytes {start} to "
            f"{end} of {file_size}"
        )
    return found


def _is_list_of_ints(value):
    # Neither True nor 2.0 is a size.
    return isinstance(value, list) and all(type(size) is int for size in value)


def _fits_numpy(shape, dtype):
    """Whether NumPy has an array of this shape; it counts empty axes as 1."""
    if len(shape) > MOST_AXES or not all(
        0 <= size <= MOST_BYTES for size in shape
    ):
        return False
    count = math.prod(size or 1 for size in shape)
    return count * dtype.itemsize <= MOST_BYTES


def _check_gapless(entries, data_start, file_size):
    end = data_start
    for name, entry in sorted(
        entries.items(), key=lambda item: (item[1].start, item[1].nbytes)
    ):
        if entry.start != end:
            raise ValueError(
                f"{name!r} at byte {entry.start}, the one before it up to {end}"
            )
        end += entry.nbytes
    if end != file_size:
        raise ValueError(f"tensors up to byte {end} of {file_size}")


def _damaged(path, what):
    # A hostile header may be quoted in `what`.
    return ValueError(
        f"Expected a whole safetensors file. Received: {path} with "
        f"{str(what)[:200]}. Download it again."
    )
