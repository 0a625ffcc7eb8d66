"""What `ExpertParallel` needs of PyTorch: processes, and who holds what.

A process is a device. Its variables hold its own experts alone: there is no
array of all of them, as on JAX.
"""

import functools

import keras
import numpy as np
import torch

from keras_moe.ops.mesh_axes import AXES
from keras_moe.ops.mesh_axes import DATA
from keras_moe.ops.mesh_axes import EXPERT
from keras_moe.ops.torch.replicas import check_group
from keras_moe.ops.torch.replicas import num_replicas

CAN_SHARD = False


def arrange_devices(devices, shape, axes):
    """Arrange processes in a mesh, in the order of their ranks.

    Args:
        devices: optional list, one for each process.
        shape: function from the number of processes to the mesh's shape.
        axes: unused; the names of the mesh's axes.

    Returns:
        Array of str, of that shape.

    Raises:
        RuntimeError: If several processes were launched without a group.
        ValueError: If there are more or fewer devices than processes.
    """
    check_group()
    if devices is None:
        devices = [f"{_kind()}:{rank}" for rank in range(num_replicas())]
    if len(devices) != num_replicas():
        raise ValueError(
            "Expected one device for each process. Received: "
            f"{len(devices)} devices, {num_replicas()} processes. Leave "
            "`devices` out."
        )
    devices = np.array(devices).reshape(shape(len(devices)))
    if num_replicas() > 1:
        _mesh(devices.shape)  # Made by all processes at the same time.
    return devices


def own_experts(num_experts, sizes):
    """Tell which experts this process holds.

    Args:
        num_experts: int E.
        sizes: dict, the size of each axis of the mesh.

    Returns:
        slice; `None` for all of them.
    """
    if sizes[EXPERT] == 1:
        return None
    size = num_experts // sizes[EXPERT]
    first = group(EXPERT).rank() * size
    return slice(first, first + size)


def gather_experts(part):
    """Return the experts of all processes of the expert axis.

    Args:
        part: tensor of shape (E / D, ...), of this process.

    Returns:
        Tensor of shape (E, ...).
    """
    part = part.detach().contiguous()
    size = group(EXPERT).size()
    whole = part.new_empty((size * part.shape[0], *part.shape[1:]))
    torch.distributed.all_gather_single(whole, part, group(EXPERT))
    return whole


def bytes_here(variable):
    """Count the bytes of a variable that this process holds.

    Args:
        variable: `keras.Variable`.

    Returns:
        int.
    """
    return variable.value.nbytes


def mark_part(variable):
    """Note that a variable holds experts of this process alone.

    Args:
        variable: `keras.Variable`, made for the experts of this process.
    """
    variable.is_part = True
    if variable.trainable and not getattr(variable, "is_unfilled", False):
        variable.value.register_post_accumulate_grad_hook(
            lambda _: _check_is_averaged(variable)
        )


def group(axis):
    """Return the processes that differ from this one along an axis only.

    Args:
        axis: `"data"` or `"expert"`.

    Returns:
        `torch.distributed.ProcessGroup`; `None` without `ExpertParallel`, or
        if there is one process.
    """
    distribution = keras.distribution.distribution()
    if getattr(distribution, "data_axes", None) != AXES or num_replicas() == 1:
        return None
    return _mesh(distribution.device_mesh.shape).get_group(axis)


def group_of_copies(variable):
    """Return the processes that hold the same part of a variable.

    Args:
        variable: `keras.Variable`.

    Returns:
        `torch.distributed.ProcessGroup`; `None` for all processes.
    """
    return group(DATA) if getattr(variable, "is_part", False) else None


def _check_is_averaged(variable):
    if not getattr(variable, "is_averaged", False):
        raise RuntimeError(
            "Expected a model whose gradients are averaged over all "
            f"processes. Received: a gradient of {variable.path} alone. Call "
            "`keras_moe.distribution.replicate(model)` before training."
        )


@functools.cache
def _mesh(shape):
    return torch.distributed.init_device_mesh(
        _kind(), tuple(shape), mesh_dim_names=AXES
    )


def _kind():
    return "cuda" if torch.cuda.is_available() else "cpu"
