"""Buffers of tokens, one for each group and expert."""

from keras import ops


def through_experts(buffers, experts):
    """Send every buffer through its expert.

    Args:
        buffers: float tensor of shape (G, E, C, H).
        experts: `keras_moe.experts.ExpertBank`.

    Returns:
        Tensor of shape (G, E, C, H), of the dtype of the experts' outputs.

    Example:

    >>> import numpy as np
    >>> from keras_moe.experts import GatedExperts
    >>> experts = GatedExperts(num_experts=2, intermediate_dim=8)
    >>> buffers = np.ones((3, 2, 4, 5), "float32")
    >>> tuple(through_experts(buffers, experts).shape)
    (3, 2, 4, 5)
    """
    num_groups, num_experts, capacity, hidden_dim = ops.shape(buffers)
    rows = ops.transpose(buffers, (1, 0, 2, 3))
    rows = ops.reshape(rows, (num_experts, -1, hidden_dim))
    rows = experts(rows)
    shape = (num_experts, num_groups, capacity, rows.shape[-1])
    return ops.transpose(ops.reshape(rows, shape), (1, 0, 2, 3))
