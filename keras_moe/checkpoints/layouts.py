"""How their tensors become our variables, and back.

A layout knows nothing of names. `O` is a product's output width, `D` its
input width.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """One way to lay numbers out, in both directions.

    Attributes:
        their_shapes: `their_shapes(our_shapes, count)`: the shapes of
            `count` tensors that fill variables of `our_shapes`.
        load: `load(arrays, our_shapes)` -> list of arrays of `our_shapes`.
        save: `save(arrays, count)` -> list of `count` arrays, the inverse.
    """

    their_shapes: Callable
    load: Callable
    save: Callable


def _one_to_one(their_shape, load, save):
    return Layout(
        lambda shapes, count: [their_shape(shapes[0])],
        lambda arrays, shapes: [load(arrays[0], shapes[0])],
        lambda arrays, count: [save(arrays[0])],
    )


def linear(num_input_axes=1):
    """Transpose a matrix (O, D) to our kernel (D..., O...).

    Args:
        num_input_axes: int, how many leading axes of our kernel are summed
            over: 2 for an attention's output kernel (N, D, H).

    Returns:
        `Layout` of one tensor and one variable.

    Example:

    >>> kernel = np.arange(6.0).reshape(1, 2, 3)  # heads, head_dim, hidden
    >>> (matrix,) = linear(2).save([kernel], 1)
    >>> matrix.shape
    (3, 2)
    >>> bool(np.all(linear(2).load([matrix], [(1, 2, 3)])[0] == kernel))
    True
    """

    def matrix(shape):
        return math.prod(shape[:num_input_axes]), math.prod(
            shape[num_input_axes:]
        )

    return _one_to_one(
        lambda shape: matrix(shape)[::-1],
        lambda array, shape: array.T.reshape(shape),
        lambda array: array.reshape(matrix(array.shape)).T,
    )


# As it is: norms, embeddings.
SAME = _one_to_one(
    lambda shape: shape, lambda array, shape: array, lambda array: array
)
# A vector of all heads, ours by head: biases of queries, keys and values.
FLAT = _one_to_one(
    lambda shape: (math.prod(shape),),
    lambda array, shape: array.reshape(shape),
    lambda array: array.reshape(-1),
)
LINEAR = linear()
LINEAR_FROM_HEADS = linear(2)
# All experts in one tensor (E, O, D); gate before up, as ours.
FUSED_EXPERTS = _one_to_one(
    lambda shape: (shape[0], shape[2], shape[1]),
    lambda array, shape: np.swapaxes(array, 1, 2),
    lambda array: np.swapaxes(array, 1, 2),
)


def side_by_side(*shares):
    """Lay tensors (..., O_i) side by side in one variable (..., sum O_i).

    Args:
        *shares: ints, how the tensors share the last axis.

    Returns:
        `Layout` of `len(shares)` tensors and one variable.

    Example:

    >>> wide, narrow = side_by_side(2, 1).save([np.array([[1, 2, 3]])], 2)
    >>> wide.tolist(), narrow.tolist()
    ([[1, 2]], [[3]])
    """

    def widths(width):
        return [width * share // sum(shares) for share in shares]

    return Layout(
        lambda shapes, count: [
            (*shapes[0][:-1], width) for width in widths(shapes[0][-1])
        ],
        lambda arrays, shapes: [np.concatenate(arrays, axis=-1)],
        lambda arrays, count: np.split(
            arrays[0], np.cumsum(widths(arrays[0].shape[-1]))[:-1], axis=-1
        ),
    )


def _expert_shapes(our_shapes, count):
    num_experts, inner, outer = our_shapes[0]
    branches = count // num_experts
    return [(outer // branches, inner)] * count


def _stack_experts(arrays, our_shapes):
    num_experts = our_shapes[0][0]
    kernels = np.empty(our_shapes[0], arrays[0].dtype)
    width = arrays[0].shape[0]
    for index, array in enumerate(arrays):
        branch, expert = divmod(index, num_experts)
        kernels[expert, :, branch * width : (branch + 1) * width] = array.T
    return [kernels]


def _split_experts(arrays, count):
    (kernels,) = arrays
    num_experts = kernels.shape[0]
    branches = np.split(kernels, count // num_experts, axis=2)
    return [kernel.T for branch in branches for kernel in branch]


# One tensor (O, D) for each expert, and for each branch: first all gates,
# then all ups.
EXPERTS = Layout(_expert_shapes, _stack_experts, _split_experts)
