"""Grouped products as a loop over blocks of rows, with static shapes.

Rows are sorted by group. A group is cut into blocks of B rows, the last one
hanging over into the next group; blocks are written in order, so whatever an
overhang wrote is overwritten by the rows that belong there. Only as many
blocks as the groups need are computed, and every shape is static, so XLA
compiles it whatever the group sizes are.
"""

from keras import ops

LARGEST_BLOCK = 128
SMALLEST_BLOCK = 2


def grouped_rows(inputs, kernels, group_sizes, transpose_kernels):
    """Multiply each group of rows by its own kernel.

    Args:
        inputs: tensor of shape (R, D), rows sorted by group.
        kernels: tensor of shape (E, D, F), or (E, F, D) if transposed.
        group_sizes: int32 tensor of shape (E,).
        transpose_kernels: bool.

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
    num_rows, inner = ops.shape(inputs)
    outer = kernels.shape[1] if transpose_kernels else kernels.shape[2]
    block = _block_size(num_rows, kernels.shape[0])
    blocks = _Blocks(group_sizes, block)
    padded = ops.pad(inputs, ((0, block), (0, 0)))

    def multiply_block(index, outputs):
        row, kernel_index, in_group = blocks.at(index)
        rows = ops.slice(padded, (row, 0), (block, inner))
        kernel = ops.slice(
            kernels, (kernel_index, 0, 0), (1, *kernels.shape[1:])
        )[0]
        if transpose_kernels:
            kernel = ops.transpose(kernel)
        product = ops.where(in_group, ops.matmul(rows, kernel), 0)
        return ops.slice_update(outputs, (row, 0), product)

    outputs = ops.zeros((num_rows + block, outer), dtype=inputs.dtype)
    outputs = ops.fori_loop(0, blocks.count, multiply_block, outputs)
    return outputs[:num_rows]


def grouped_outer(inputs, cotangents, group_sizes):
    """Sum the outer products of each group's rows: the kernels' gradient.

    Args:
        inputs: tensor of shape (R, D), rows sorted by group.
        cotangents: tensor of shape (R, F).
        group_sizes: int32 tensor of shape (E,).

    Returns:
        Tensor of shape (E, D, F), 0 for empty groups; summed in float32.

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
    num_groups = group_sizes.shape[0]
    block = _block_size(num_rows, num_groups)
    blocks = _Blocks(group_sizes, block)
    padded = ops.pad(inputs, ((0, block), (0, 0)))
    padded_cotangents = ops.pad(cotangents, ((0, block), (0, 0)))

    def add_block(index, sums):
        row, group, in_group = blocks.at(index)
        # Both sides are masked: 0 times a neighbour's NaN would be a NaN.
        rows = ops.slice(padded, (row, 0), (block, inner))
        rows = ops.where(in_group, rows, 0)
        columns = ops.slice(padded_cotangents, (row, 0), (block, outer))
        columns = ops.where(in_group, columns, 0)
        product = ops.cast(ops.matmul(ops.transpose(rows), columns), "float32")
        current = ops.slice(sums, (group, 0, 0), (1, inner, outer))
        return ops.slice_update(sums, (group, 0, 0), current + product[None])

    sums = ops.zeros((num_groups, inner, outer), dtype="float32")
    sums = ops.fori_loop(0, blocks.count, add_block, sums)
    return ops.cast(sums, inputs.dtype)


class _Blocks:
    """Where each block of rows starts and which group it belongs to."""

    def __init__(self, group_sizes, block):
        self._group_starts = ops.cumsum(group_sizes) - group_sizes
        self._group_ends = ops.cumsum(group_sizes)
        blocks_per_group = (group_sizes + block - 1) // block
        self._block_ends = ops.cumsum(blocks_per_group)
        self._first_block = self._block_ends - blocks_per_group
        self._positions = ops.arange(block, dtype="int32")
        self._block = block
        self.count = self._block_ends[-1]

    def at(self, index):
        """Return the block's first row, its group and its rows' mask."""
        group = ops.sum(ops.cast(self._block_ends <= index, "int32"))
        row = self._group_starts[group]
        row = row + (index - self._first_block[group]) * self._block
        in_group = row + self._positions < self._group_ends[group]
        return row, group, in_group[:, None]


def _block_size(num_rows, num_groups):
    """Choose a power of two near half the average group."""
    if not isinstance(num_rows, int):
        return LARGEST_BLOCK
    block = SMALLEST_BLOCK
    while block < min(num_rows // (2 * num_groups), LARGEST_BLOCK):
        block *= 2
    return block
