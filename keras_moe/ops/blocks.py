"""Grouped products as a loop over blocks of rows, with static shapes.

Rows are sorted by group. A group is cut into blocks of B rows, the last one
hanging over into the next group; blocks are written in order, so whatever an
overhang wrote is overwritten by the rows that belong there. Only as many
blocks as the groups need are computed, and every shape is static, so XLA
compiles it whatever the group sizes are.

How many blocks that is only the device knows, and a GPU would have to tell
the host after every block. With `known_count`, there are as many as the worst
group sizes need, longer ones, and the spare ones multiply zeros.
"""

import numpy as np
from keras import ops

from keras_moe.ops.read_slice import read_slice
from keras_moe.ops.widen import int32
from keras_moe.ops.widen import result_dtype
from keras_moe.ops.widen import widen

LARGEST_BLOCK = 128
LARGEST_OF_KNOWN_COUNT = 2048
SMALLEST_BLOCK = 2
# JAX takes positions of one dtype, and in its 64-bit mode a plain 0 is int64.
ZERO = np.int32(0)


def grouped_rows(
    inputs, kernels, group_sizes, transpose_kernels, known_count=False
):
    """Multiply each group of rows by its own kernel.

    Args:
        inputs: tensor of shape (R, D), rows sorted by group.
        kernels: tensor of shape (E, D, F), or (E, F, D) if transposed.
        group_sizes: int32 tensor of shape (E,).
        transpose_kernels: bool.
        known_count: bool, whether the number of blocks is the same for all
            group sizes. A symbolic R cannot have that.

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
    num_rows = ops.shape(inputs)[0]
    outer = kernels.shape[1] if transpose_kernels else kernels.shape[2]
    blocks = _Blocks(group_sizes, num_rows, known_count)
    block = blocks.length
    padded = ops.pad(inputs, ((0, block), (0, 0)))

    def multiply_block(index, outputs):
        row, kernel_index, in_group = blocks.at(index)
        rows = read_slice(padded, row, block)
        kernel = read_slice(kernels, kernel_index, 1)[0]
        if transpose_kernels:
            kernel = ops.transpose(kernel)
        product = ops.where(in_group, rows @ kernel, 0)
        return ops.slice_update(outputs, (row, ZERO), product)

    outputs = ops.zeros((num_rows + block, outer), dtype=inputs.dtype)
    outputs = ops.fori_loop(0, blocks.count, multiply_block, outputs)
    return outputs[:num_rows]


def grouped_outer(inputs, cotangents, group_sizes, known_count=False):
    """Sum the outer products of each group's rows: the kernels' gradient.

    Args:
        inputs: tensor of shape (R, D), rows sorted by group.
        cotangents: tensor of shape (R, F).
        group_sizes: int32 tensor of shape (E,).
        known_count: bool, as for `grouped_rows`.

    Returns:
        Tensor of shape (E, D, F), 0 for empty groups; summed in float32 or
        wider.

    Example:

    >>> import numpy as np
    >>> sums = grouped_outer(
    ...     np.ones((3, 1), "float32"), np.ones((3, 1), "float32"),
    ...     np.array([0, 2], "int32"),
    ... )
    >>> np.array(sums).ravel().tolist()
    [0.0, 2.0]
    """
    num_rows, inner = ops.shape(inputs)
    outer = cotangents.shape[1]
    blocks = _Blocks(group_sizes, num_rows, known_count)
    block = blocks.length
    padded = ops.pad(inputs, ((0, block), (0, 0)))
    padded_cotangents = ops.pad(cotangents, ((0, block), (0, 0)))

    def add_block(index, sums):
        row, group, in_group = blocks.at(index)
        # Both sides are masked: 0 times a neighbour's NaN would be a NaN.
        rows = read_slice(padded, row, block)
        rows = ops.where(in_group, rows, 0)
        columns = read_slice(padded_cotangents, row, block)
        columns = ops.where(in_group, columns, 0)
        product = widen(ops.transpose(rows) @ columns)
        current = read_slice(sums, group, 1)
        return ops.slice_update(
            sums, (group, ZERO, ZERO), current + product[None]
        )

    sums = ops.zeros(
        (group_sizes.shape[0], inner, outer),
        dtype=result_dtype(inputs.dtype, "float32"),
    )
    sums = ops.fori_loop(0, blocks.count, add_block, sums)
    return ops.cast(sums, inputs.dtype)


class _Blocks:
    """Where each block of rows starts and which group it belongs to."""

    def __init__(self, group_sizes, num_rows, known_count):
        num_groups = group_sizes.shape[0]
        known_count = known_count and isinstance(num_rows, int)
        block = _block_size(num_rows, num_groups, known_count)
        self._last_group = num_groups - 1
        # With a dtype, or JAX's 64-bit mode makes them int64.
        self._group_ends = ops.cumsum(group_sizes, dtype="int32")
        self._group_starts = self._group_ends - group_sizes
        blocks_per_group = (group_sizes + block - 1) // block
        self._block_ends = ops.cumsum(blocks_per_group, dtype="int32")
        self._first_block = self._block_ends - blocks_per_group
        self._positions = ops.arange(block, dtype="int32")
        self._end = num_rows
        self.length = block
        self.count = self._block_ends[-1]
        if known_count:
            # No group leaves more than one block unfilled, an empty one none.
            self.count = num_rows // block + min(num_rows, num_groups)

    def at(self, index):
        """Return the block's first row, its group and its rows' mask."""
        index = ops.cast(index, "int32")
        passed = ops.cast(self._block_ends <= index, "int32")
        group = ops.cast(ops.sum(passed), "int32")
        # A spare block goes to the padding, and no row of it is real.
        group = ops.minimum(group, int32(self._last_group))
        row, first_block, group_end = (
            read_slice(numbers, group, 1)[0]
            for numbers in (
                self._group_starts,
                self._first_block,
                self._group_ends,
            )
        )
        row = row + (index - first_block) * self.length
        row = ops.minimum(row, int32(self._end))
        in_group = row + self._positions < group_end
        return row, group, in_group[:, None]


def _block_size(num_rows, num_groups, known_count=False):
    """Choose a power of two near a half or a quarter of the average group."""
    if not isinstance(num_rows, int):
        return LARGEST_BLOCK
    largest, parts = LARGEST_BLOCK, 2
    if known_count:
        # A spare block for each group: a quarter of the work at most.
        largest, parts = LARGEST_OF_KNOWN_COUNT, 4
    block = SMALLEST_BLOCK
    while block < min(num_rows // (parts * num_groups), largest):
        block *= 2
    return block
