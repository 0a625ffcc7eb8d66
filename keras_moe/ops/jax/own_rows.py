"""Each device computes on rows of its own.

XLA's partitioner knows no parallel way to sort or to rank: it gathers all rows
on every device. Here JAX is told that rows are independent.
"""

import math

import jax
import keras
from jax.sharding import PartitionSpec

from keras_moe.ops.mesh_axes import AXES


def on_own_rows(function):
    """Let each device apply a function to its own rows.

    Args:
        function: function of arrays that have the same first axis, which it
            treats row by row, and that returns such an array.

    Returns:
        The function, for arrays on all devices. Outside of an
        `ExpertParallel` distribution or of `jax.jit`, or for a number of rows
        that the devices cannot divide, it is `function`.
    """

    def call(*arrays):
        mesh = row_mesh(arrays[0])
        if mesh is None:
            return function(*arrays)
        return on_mesh(function, mesh, PartitionSpec(AXES))(*arrays)

    return call


def on_mesh(function, mesh, in_specs):
    """Run a function on each device, which returns the device's own rows.

    Args:
        function: function of the device's parts of arrays.
        mesh: `jax.sharding.Mesh` with the axes data and expert.
        in_specs: how the arrays are divided, as for `jax.shard_map`.

    Returns:
        Function of whole arrays.
    """
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=in_specs,
        out_specs=PartitionSpec(AXES),
        # Hand-written gradients and loops do not say over which axes their
        # results vary. Without the check JAX adds up the gradients of what
        # devices share by `in_specs` alone.
        check_vma=False,
    )


def row_mesh(rows):
    """Return the mesh that divides rows, if one does.

    Args:
        rows: array whose first axis is that of a batch.

    Returns:
        `jax.sharding.Mesh`, or `None`.
    """
    mesh = traced_mesh(rows)
    if mesh is None or rows.ndim < 2 or not divides(mesh, (AXES,), rows.shape):
        return None
    return mesh


def traced_mesh(array):
    """Return the mesh over which an array is laid out.

    Args:
        array: of any shape.

    Returns:
        `jax.sharding.Mesh`, or `None`.
    """
    distribution = keras.distribution.distribution()
    if getattr(distribution, "data_axes", None) != AXES:
        return None
    if not isinstance(array, jax.core.Tracer):
        return None  # Nothing is compiled as a whole: it would be each time.
    if jax.sharding.get_abstract_mesh().manual_axes:
        return None  # It is the device's own rows already.
    return distribution.device_mesh.backend_mesh


def divides(mesh, axes, shape):
    """Tell whether a mesh divides dimensions of an array.

    Args:
        mesh: `jax.sharding.Mesh`.
        axes: for the first dimensions, the names of the axes of the mesh that
            divide it: a str, a tuple of them, or `None`.
        shape: tuple.

    Returns:
        bool.
    """
    for names, length in zip(axes, shape, strict=False):
        names = (names,) if isinstance(names, str) else names or ()
        size = math.prod(mesh.shape[name] for name in names)
        # While Keras traces with open sizes, nobody knows.
        if not isinstance(length, int) or length % size:
            return False
    return True
