"""Sums over the replicas that share a batch."""

from keras_moe.ops.backend import load_or


def _of_one_program(values):
    # JAX runs one program on the whole batch, PyTorch has no replicas.
    return values


_sum = getattr(load_or("replicas", None), "sum_over_replicas", _of_one_program)


def sum_over_replicas(values):
    """Add up what the replicas of a `tf.distribute` strategy have.

    Args:
        values: tensor, of this replica. No gradient.

    Returns:
        Tensor of the same shape, equal on all replicas; `values` without a
        strategy.

    Example:

    >>> import numpy as np
    >>> float(sum_over_replicas(np.float32(3.0)))
    3.0
    """
    return _sum(values)
