"""What `ExpertParallel` needs of JAX: devices, processes and shards."""

import collections

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from keras_moe.ops.jax.own_rows import divides
from keras_moe.ops.jax.own_rows import traced_mesh

CAN_SHARD = True


def arrange_devices(devices, shape, axes):
    """Arrange devices in a mesh; all of them by default.

    Args:
        devices: optional list of names such as `"cpu:0"`, or of
            `jax.Device`, which keep their order. By default JAX chooses the
            order that suits the network.
        shape: function from the number of devices to the mesh's shape.
        axes: tuple of str, the names of the mesh's axes.

    Returns:
        Array of `jax.Device`, of that shape.

    Raises:
        ValueError: If a name is unknown, or processes have unequally many.
    """
    if devices is None:
        shape = shape(jax.device_count())
        devices = jax.make_mesh(shape, axes).devices
    else:
        shape = shape(len(devices))
        devices = np.array([_find(each) for each in devices]).reshape(shape)
    check_processes([each.process_index for each in devices.flat])
    return devices


def own_experts(num_experts, sizes):
    """Return `None`: an array has all experts, on all devices."""


def check_processes(processes):
    """Raise unless all processes have equally many devices.

    Args:
        processes: list of int, the process of each device.

    Raises:
        ValueError: If they have not.

    Example:

    >>> check_processes([0, 0])
    """
    counts = collections.Counter(processes)
    missing = {*range(jax.process_count())} - {*counts}
    if missing or len({*counts.values()}) > 1:
        raise ValueError(
            "Expected as many devices of each process. Received: "
            f"{dict(counts)} for {jax.process_count()} processes. Leave "
            "`devices` out, or choose them evenly: each process feeds its own "
            "devices with the same number of rows."
        )


def check_is_split(variable, axes, sizes):
    """Raise unless each device holds its part of a variable and no more.

    Args:
        variable: `keras.Variable` that has a value.
        axes: tuple, the mesh axis of each dimension, or `None`.
        sizes: dict, the size of each axis of the mesh.

    Raises:
        ValueError: Names the variable.
    """
    if isinstance(variable.value, jax.core.Tracer):
        return  # Without memory, there is nothing to hold.
    expected = tuple(
        length // sizes.get(axis, 1)
        for length, axis in zip(variable.shape, axes, strict=True)
    )
    shards = variable.value.addressable_shards
    found = {tuple(shard.data.shape) for shard in shards}
    if found != {expected}:
        raise ValueError(
            f"Expected each device to hold {expected} of {variable.path}. "
            f"Received: {sorted(found)} of {tuple(variable.shape)}. Make the "
            "model after `keras.distribution.set_distribution`."
        )


def batch_sharding(sharding, check):
    """Let a sharding check each batch that is split by it.

    Args:
        sharding: `jax.sharding.NamedSharding`, over all devices.
        check: function of the number of rows of this process.

    Returns:
        An equal `jax.sharding.NamedSharding`.
    """
    checked = _CheckedSharding(sharding.mesh, sharding.spec)
    checked.check = check
    return checked


def lay_out(tensor, axes):
    """Tell XLA's partitioner which device computes which part of a tensor.

    Args:
        tensor: array, or `keras.Variable`.
        axes: list with one entry for each dimension, as for `PartitionSpec`.

    Returns:
        Array of the same numbers; `tensor` outside of `jax.jit`, or if the
        mesh does not divide it.
    """
    value = keras.ops.convert_to_tensor(tensor)
    mesh = traced_mesh(value)
    if mesh is None or not divides(mesh, axes, value.shape):
        return tensor
    layout = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.lax.with_sharding_constraint(value, layout)


def bytes_here(variable):
    """Return how much of a variable each device holds, in bytes."""
    return variable.value.addressable_shards[0].data.nbytes


class _CheckedSharding(jax.sharding.NamedSharding):
    """Speaks before JAX does, whose error knows no batches."""

    def shard_shape(self, global_shape):
        self.check(global_shape[0] // jax.process_count())
        return super().shard_shape(global_shape)


def _find(device):
    if not isinstance(device, str):
        return device
    platform, _, number = device.partition(":")
    known = {str(each.id): each for each in jax.devices(platform)}
    if number not in known:
        raise ValueError(
            f"Expected devices among {platform}:{sorted(known)}. "
            f"Received: {device!r}. See `keras.distribution.list_devices()`."
        )
    return known[number]
