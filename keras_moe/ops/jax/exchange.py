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


def exchange_rows(rows, group_sizes, compute):
    """Let each row be computed where its expert is.

    Args:
        rows: array of shape (R, H), sorted by expert.
        group_sizes: int32 array of shape (E,).
        compute: function of rows that have arrived, in the order of the
            devices they come from, shape (D * R, H), and the number of rows
            of each of these devices for each expert here, shape (D, E / D);
            returns rows of the same order.

    Returns:
        Array of shape (R, H); rows past the sum of the sizes are 0.
    """
    num_devices = lax.axis_size(EXPERT)
    here = lax.axis_index(EXPERT)
    counts = lax.all_gather(group_sizes, EXPERT)
    counts = counts.reshape(num_devices, num_devices, -1)
    pairs = jnp.sum(counts, axis=-1)  # (from, to)
    leave = _starts(pairs, axis=1)
    arrive = _starts(pairs, axis=0)
    there = leave[here], pairs[here], arrive[here], pairs[:, here]
    back = arrive[:, here], pairs[:, here], leave[:, here], pairs[here]
    num_rows = rows.shape[0]
    arrived = _travel(num_devices * num_rows, num_rows)((rows,), there + back)
    outputs = compute(arrived, counts[:, here])
    return _travel(num_rows, num_devices * num_rows)((outputs,), back + there)


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
