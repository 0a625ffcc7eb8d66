"""Grouped products on Hopper GPUs. The one file that imports these kernels.

XLA has no grouped kernel for CUDA: it multiplies every row by every kernel.
JAX ships two for the matrix units of Hopper (H100, H200), written in Pallas;
they have no public name.
"""

import functools

import jax

from keras_moe.ops.implementations import HALF
from keras_moe.ops.jax.real_rows import fill_up
from keras_moe.ops.jax.real_rows import where_real

try:
    from jax.experimental.pallas.ops.gpu.ragged_dot_mgpu import ragged_dot
    from jax.experimental.pallas.ops.gpu.transposed_ragged_dot_mgpu import (
        transposed_ragged_dot,
    )
except ImportError:
    ragged_dot = transposed_ragged_dot = None

HOPPER = "9.0"
TILE, DEPTH = 128, 64
# The fastest of six at the sizes of Mixtral-8x7B on an H200: 590 TFLOP/s. A
# tile 256 wide does not fit the registers, and takes three times as long.
TILING = {
    "block_m": TILE,
    "block_n": TILE,
    "block_k": DEPTH,
    "max_concurrent_steps": 4,
    "grid_block_n": 8,
}


def takes(*arrays):
    """Tell whether the kernels take arrays: whole tiles, half precision.

    Args:
        *arrays: of shape (R, D) and (E, D, F), or (R, D) and (R, F).

    Returns:
        bool.

    Example:

    >>> import jax.numpy as jnp
    >>> takes(jnp.ones((8, 3), "bfloat16"), jnp.ones((2, 3, 4), "bfloat16"))
    False
    """
    widths = [size for each in arrays for size in each.shape[1:]]
    return (
        ragged_dot is not None
        and _on_hopper()
        and all(each.dtype.name in HALF for each in arrays)
        and isinstance(arrays[0].shape[0], int)
        and all(width % TILE == 0 for width in widths)
    )


def grouped_rows(inputs, kernels, group_sizes, transpose_kernels):
    """Multiply each group of rows by its own kernel.

    Args:
        inputs: array of shape (R, D), rows sorted by group.
        kernels: array of shape (E, D, F), or (E, F, D) if transposed.
        group_sizes: int32 array of shape (E,).
        transpose_kernels: bool.

    Returns:
        Array of shape (R, F); rows past the sum of the sizes are 0.
    """
    outputs = ragged_dot(
        fill_up(inputs, DEPTH),
        kernels,
        group_sizes=group_sizes,
        transpose_rhs=transpose_kernels,
        **TILING,
    )
    # Rows of no group are not written.
    return where_real(outputs[: inputs.shape[0]], group_sizes)


def grouped_outer(inputs, cotangents, group_sizes):
    """Sum the outer products of each group's rows: the kernels' gradient.

    Args:
        inputs: array of shape (R, D), rows sorted by group.
        cotangents: array of shape (R, F).
        group_sizes: int32 array of shape (E,).

    Returns:
        Array of shape (E, D, F), 0 for empty groups; summed in float32.
    """
    # A NaN in rows of no group must not count.
    inputs, cotangents = (
        where_real(fill_up(rows, DEPTH), group_sizes)
        for rows in (inputs, cotangents)
    )
    return transposed_ragged_dot(
        inputs, cotangents, group_sizes=group_sizes, **TILING
    )


@functools.cache
def _on_hopper():
    capability = getattr(jax.local_devices()[0], "compute_capability", None)
    return capability == HOPPER
