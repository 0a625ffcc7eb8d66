"""Groups of tokens: what a router that compares tokens looks at together."""

from keras import ops

from keras_moe.routing.slot_assignment import grouped_shape


def to_groups(values, padding_mask=None):
    """Reshape tokens to groups, and fill in a mask where there is none.

    As in a sparse layer: a row of the batch is a group, and tokens of rank 2
    are a single one.

    Args:
        values: float tensor of shape (..., X), rank 2 or more.
        padding_mask: optional bool tensor of shape (...), True = real token.

    Returns:
        Tensor of shape (G, S, X), and bool tensor of shape (G, S).

    Example:

    >>> import numpy as np
    >>> tokens, padding_mask = to_groups(np.zeros((5, 4), "float32"))
    >>> tuple(tokens.shape), tuple(padding_mask.shape)
    ((1, 5, 4), (1, 5))
    """
    num_groups, group_size, width = grouped_shape(values)
    grouped = (num_groups, group_size)
    if padding_mask is None:
        padding_mask = ops.ones(grouped, dtype="bool")
    padding_mask = ops.cast(ops.reshape(padding_mask, grouped), "bool")
    return ops.reshape(values, (*grouped, width)), padding_mask
