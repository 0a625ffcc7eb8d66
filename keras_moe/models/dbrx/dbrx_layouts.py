"""How DBRX stacks its matrices: `O` output width, `H` hidden width."""

import math

import numpy as np

from keras_moe.checkpoints.layouts import Layout


def _fused_shapes(our_shapes, count):
    rows = sum(math.prod(shape[1:]) for shape in our_shapes)
    return [(rows, our_shapes[0][0])]


def _split_heads(arrays, our_shapes):
    rows = [math.prod(shape[1:]) for shape in our_shapes]
    parts = np.split(arrays[0], np.cumsum(rows)[:-1])
    return [
        part.T.reshape(shape)
        for part, shape in zip(parts, our_shapes, strict=True)
    ]


def _join_heads(arrays, count):
    return [
        np.concatenate(
            [kernel.reshape(kernel.shape[0], -1).T for kernel in arrays]
        )
    ]


# Queries above keys above values in one matrix (O, H); ours are three kernels
# (H, heads, head_dim).
QUERY_KEY_VALUE = Layout(_fused_shapes, _split_heads, _join_heads)


def _branch_shapes(our_shapes, count):
    num_experts, hidden_dim, width = our_shapes[0]
    return [(num_experts * width // count, hidden_dim)] * count


def _stack_branches(arrays, our_shapes):
    num_experts, hidden_dim, _ = our_shapes[0]
    branches = [
        array.reshape(num_experts, -1, hidden_dim).swapaxes(1, 2)
        for array in arrays
    ]
    return [np.concatenate(branches, axis=2)]


def _split_branches(arrays, count):
    branches = np.split(arrays[0], count, axis=2)
    return [
        branch.swapaxes(1, 2).reshape(-1, branch.shape[1])
        for branch in branches
    ]


# A matrix (E I, H) for each branch: expert above expert, each (I, H), the
# transpose of our kernel's half.
BRANCHES = Layout(_branch_shapes, _stack_branches, _split_branches)

# The way down (E I, H): expert above expert, each (I, H) as ours.
ROWS_OF_EXPERTS = Layout(
    lambda shapes, count: [(shapes[0][0] * shapes[0][1], shapes[0][2])],
    lambda arrays, shapes: [arrays[0].reshape(shapes[0])],
    lambda arrays, count: [arrays[0].reshape(-1, arrays[0].shape[2])],
)
