"""Grouped rows for decoding: a handful of rows, each with its own kernel.

Then the time goes into reading the chosen kernels from memory. They are read
in tiles that fit the cache closest to the processor, because XLA copies what
it slices at a position known at run time only: the copy of a tile stays in
the cache, the copy of a whole kernel goes to memory and back.
"""

from keras import ops

from keras_moe.ops import blocks
from keras_moe.ops.widen import result_dtype
from keras_moe.ops.widen import widen

TILE = 64


def grouped_rows(inputs, kernels, group_sizes, transpose_kernels):
    """Multiply each row by the kernel of its group.

    Args:
        inputs: tensor of shape (R, D), rows sorted by group.
        kernels: tensor of shape (E, D, F), or (E, F, D) if transposed.
        group_sizes: int32 tensor of shape (E,).
        transpose_kernels: bool; with `True`, for a gradient, the rows are
            multiplied in blocks.

    Returns:
        Tensor of shape (R, F); rows past the sum of the sizes are 0.

    Example:

    >>> import numpy as np
    >>> outputs = grouped_rows(
    ...     np.ones((3, 2), "float32"), np.ones((2, 2, 1), "float32"),
    ...     np.array([1, 1], "int32"), False,
    ... )
    >>> np.array(outputs).ravel().tolist()
    [2.0, 2.0, 0.0]
    """
    if transpose_kernels:
        return blocks.grouped_rows(inputs, kernels, group_sizes, True)
    num_rows, inner = inputs.shape
    outer = kernels.shape[2]
    tile = TILE if inner % TILE == 0 else inner
    tiles_per_row = inner // tile
    ends = ops.cumsum(group_sizes, dtype="int32")
    position = ops.arange(num_rows, dtype="int32")
    passed = ops.cast(position[:, None] >= ends[None, :], "int32")  # (R, E)
    group = ops.cast(ops.sum(passed, axis=-1), "int32")  # (R,)

    def add_tile(index, outputs):
        index = ops.cast(index, "int32")
        row, start = index // tiles_per_row, index % tiles_per_row * tile
        kernel = ops.slice(
            kernels, (group[row], start, blocks.ZERO), (1, tile, outer)
        )
        numbers = ops.slice(inputs, (row, start), (1, tile))
        current = ops.slice(outputs, (row, blocks.ZERO), (1, outer))
        return ops.slice_update(
            outputs,
            (row, blocks.ZERO),
            current + widen(numbers @ kernel[0]),
        )

    dtype = result_dtype(inputs.dtype, "float32")
    outputs = ops.zeros((num_rows, outer), dtype=dtype)
    num_tiles = ends[-1] * tiles_per_row
    outputs = ops.fori_loop(0, num_tiles, add_tile, outputs)
    return ops.cast(outputs, inputs.dtype)
