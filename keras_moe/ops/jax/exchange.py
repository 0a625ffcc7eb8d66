"""Rows travel between the devices of the expert axis, on JAX.

All functions but `on_each_device` run inside of it, on one device's rows.
"""

import functools

import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from keras_moe.ops.gradients import custom_vjp
from keras_moe.ops.jax.own_rows import on_mesh
from keras_moe.ops.jax.own_rows import row_mesh
from keras_moe.ops.mesh_axes import AXES
from keras_moe.ops.mesh_axes import EXPERT


def on_each_device(function, rows, expert_tensors):
    """Run a function on each device of the mesh.

    Args:
        function: function of `rows` and `expert_tensors`, of which it sees
            the device's own part, that returns rows.
        rows: pytree of arrays whose first axis is G, groups of tokens.
        expert_tensors: pytree of arrays whose first axis is E.

    Returns:
        What the function returns, of all devices.
    """
    specs = PartitionSpec(AXES), PartitionSpec(EXPERT)
    return on_mesh(function, row_mesh(rows[0]), specs)(rows, expert_tensors)


def can_divide(rows):
    """Tell whether a mesh of experts is set whose devices divide the rows."""
    return row_mesh(rows) is not None


def first_expert(num_experts):
    """Return the index of this device's first expert; each has as many."""
    return lax.axis_index(EXPERT) * num_experts


def send_blocks(blocks):
    """Send each expert's block of rows to it: (E, N, H) -> (E / D, D * N, H).

    D is the number of devices of the expert axis.
    """
    return lax.all_to_all(blocks, EXPERT, 0, 1, tiled=True)


def return_blocks(blocks):
    """Send blocks back: (E / D, D * N, H) -> (E, N, H)."""
    return lax.all_to_all(blocks, EXPERT, 1, 0, tiled=True)


def gather_rows(rows):
    """Give each device all rows of its expert axis: (G, ...) -> (D * G, ...).

    Its gradient is `add_up_rows`.
    """
    return lax.all_gather(rows, EXPERT, axis=0, tiled=True)


def add_up_rows(rows):
    """Add up what the devices have for each row: (D * G, ...) -> (G, ...)."""
    return lax.psum_scatter(rows, EXPERT, scatter_dimension=0, tiled=True)


def where_rows_can_be_sent(otherwise, send, *arrays):
    """Choose by the platform that the program is lowered for.

    XLA for CPU has no ragged all-to-all (jaxlib 0.10.2).
    """
    return lax.platform_dependent(*arrays, cpu=otherwise, default=send)


def exchange_rows(arrays, sizes, compute, most):
    """Let rows be computed on other devices.

    Args:
        arrays: list of arrays of shape (R, ...), the rows sorted by device.
        sizes: int32 array of shape (D,), how many go to each device.
        compute: function of the rows that have arrived, an array of shape
            (D * most, ...) for each of `arrays`, with zeros behind them;
            returns an array with rows of the same order.
        most: int, the most rows that a device sends to another.

    Returns:
        Array of shape (R, ...); rows past the sum of the sizes are 0.
    """
    here = lax.axis_index(EXPERT)
    sizes = lax.all_gather(sizes, EXPERT)  # (from, to)
    leave, arrive = _starts(sizes, axis=1), _starts(sizes, axis=0)
    there = leave[here], sizes[here], arrive[here], sizes[:, here]
    back = arrive[:, here], sizes[:, here], leave[:, here], sizes[here]
    num_leaving = arrays[0].shape[0]
    num_arriving = sizes.shape[0] * most
    send = _travel(num_arriving, num_leaving)
    outputs = compute(*(send((rows,), there + back) for rows in arrays))
    return _travel(num_leaving, num_arriving)((outputs,), back + there)


def known_number(number):
    """Return a number if it is known before the program runs: never."""
    return None


@functools.cache
def _travel(num_arriving, num_leaving):
    """Return the function that sends rows; its gradient sends them back."""

    def send(rows, *routes):
        buffer = jnp.zeros((num_arriving, rows.shape[1]), rows.dtype)
        return lax.ragged_all_to_all(
            rows, buffer, *routes[:4], axis_name=EXPERT
        )

    def send_back(rows, *routes_and_cotangent):
        *routes, cotangent = routes_and_cotangent
        buffer = jnp.zeros((num_leaving, rows.shape[1]), cotangent.dtype)
        return (
            lax.ragged_all_to_all(
                cotangent, buffer, *routes[4:], axis_name=EXPERT
            ),
        )

    return custom_vjp(send, send_back)


def _starts(sizes, axis):
    return jnp.cumsum(sizes, axis=axis, dtype=jnp.int32) - sizes
