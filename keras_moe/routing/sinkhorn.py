"""Sinkhorn's prices: experts that too many tokens want become expensive."""

from keras import ops

from keras_moe.routing.expert_choice import LOWEST
from keras_moe.routing.groups import to_groups


def sinkhorn_logits(router_logits, num_iterations, padding_mask=None):
    """Subtract from each expert's logits the price that evens the load.

    `exp(logits)` is scaled by turns so that each row (token) and each column
    (expert) has the same sum (Sinkhorn and Knopp, 1967). Only the columns'
    factors change a token's order of experts; they are what is added here, as
    logarithms, so nothing overflows.

    Args:
        router_logits: float32 tensor of shape (..., E). A row of the batch is
            a group; rank 2 is a single group.
        num_iterations: int, how often rows and then columns are scaled.
        padding_mask: optional bool tensor of shape (...), True = real token.

    Returns:
        float32 tensor of shape (..., E), whose exponentials, over their sum
        for each token, have equal column sums. No gradient.

    Example:

    >>> import numpy as np
    >>> logits = np.array([[3.0, 0.0], [2.0, 0.0]], "float32")
    >>> balanced = sinkhorn_logits(logits, num_iterations=20)
    >>> np.argmax(np.array(balanced), axis=-1).tolist()
    [0, 1]
    """
    shape = ops.shape(router_logits)
    logits = ops.convert_to_tensor(router_logits, "float32")
    logits, padding_mask = to_groups(logits, padding_mask)
    logits = ops.stop_gradient(logits)
    real = padding_mask[..., None]

    def scale(_, prices):
        shares = logits - ops.logsumexp(logits - prices, axis=-1, keepdims=True)
        shares = ops.where(real, shares, LOWEST)
        return ops.logsumexp(shares, axis=1, keepdims=True)  # (G, 1, E)

    prices = ops.zeros_like(logits[:, :1])
    prices = ops.fori_loop(0, num_iterations, scale, prices)
    return ops.reshape(logits - prices, shape)
