"""Sums over the replicas that share a batch.

Replicas are the processes of `torch.distributed`, or those of a
`tf.distribute` strategy. JAX runs one program on the whole batch, whatever the
mesh, and has a single one.
"""

import contextlib
import contextvars
import math

import keras
from keras import ops

from keras_moe.ops.backend import load_or

_backend = load_or("replicas", None)
_is_whole = contextvars.ContextVar("whole_batch", default=False)


def num_replicas():
    """Count the replicas that share the batch.

    Returns:
        int, 1 without a strategy or process group.

    Example:

    >>> num_replicas()
    1
    """
    return 1 if _backend is None else _backend.num_replicas()


def check_group():
    """Raise if processes were launched that do not know each other.

    Raises:
        RuntimeError: On PyTorch, without a process group.

    Example:

    >>> check_group()
    """
    if keras.config.backend() == "torch":
        _backend.check_group()


def in_multi_worker_strategy():
    """Tell whether the replicas are those of several TensorFlow workers.

    Returns:
        bool.

    Example:

    >>> in_multi_worker_strategy()
    False
    """
    if keras.config.backend() != "tensorflow":
        return False
    return _backend.in_multi_worker_strategy()


def sum_over_replicas(values):
    """Add up what the replicas have.

    All replicas must call it, in the same order.

    With n replicas, the gradient is n times that of a replica's own part. A
    loss F(S) of a sum S over the replicas is computed by each of them, and
    engines average the gradients of the replicas: the mean over r of
    `n * F'(S) * dS_r` is `F'(S) * dS`, the gradient of one device. So a loss
    of the whole batch is added like any other, not divided by n, and no
    second exchange is needed.

    Args:
        values: float tensor, of this replica.

    Returns:
        Tensor of the same shape, equal on all replicas; `values` if there is
        one replica.

    Example:

    >>> import numpy as np
    >>> float(sum_over_replicas(np.float32(3.0)))
    3.0
    """
    replicas = num_replicas()
    if replicas == 1:
        return values
    constant = ops.stop_gradient(values)
    total = _backend.sum_over_replicas(constant)
    return total + replicas * (values - constant)


@contextlib.contextmanager
def whole_batch(enabled=True):
    """Let `sum_over_batch` mean the batch of all replicas.

    Args:
        enabled: bool; `False` for the part of this replica alone.

    Example:

    >>> with whole_batch():
    ...     pass
    """
    if num_replicas() == 1:
        yield
        return
    token = _is_whole.set(enabled)
    try:
        yield
    finally:
        _is_whole.reset(token)


def sum_over_batch(*values):
    """Complete sums over tokens: within `whole_batch`, over all replicas.

    Elsewhere they are returned as they are: a function of a plan is about
    that plan alone, and may be called by one replica only.

    Args:
        *values: float32 tensors of static shapes, of this replica. They
            travel together.

    Returns:
        Tuple of tensors of the same shapes.

    Example:

    >>> import numpy as np
    >>> [float(each) for each in sum_over_batch(np.ones(()), np.zeros(()))]
    [1.0, 0.0]
    """
    if num_replicas() == 1 or not _is_whole.get():
        return values
    sums = sum_over_replicas(
        ops.concatenate([ops.reshape(each, (-1,)) for each in values])
    )
    totals, start = [], 0
    for each in values:
        size = math.prod(each.shape)
        totals.append(ops.reshape(sums[start : start + size], each.shape))
        start += size
    return tuple(totals)
