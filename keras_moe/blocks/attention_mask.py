"""Which keys a query may look at."""

from keras import ops


def causal_mask(
    query_positions, key_positions, padding_mask=None, sliding_window=None
):
    """Let each query see itself and earlier keys, within a window.

    Args:
        query_positions: int32 tensor of shape (L,) or (B, L), in tokens.
        key_positions: int32 tensor of shape (X,) or (B, X), in tokens; a
            negative one is never looked at.
        padding_mask: optional bool tensor of shape (B, X), True = real
            token; padding is never looked at.
        sliding_window: optional int w: key k is visible to query q if
            q - w < k <= q, so w counts the query itself.

    Returns:
        bool tensor of shape (1, L, X) or (B, L, X), True = visible.

    Example:

    >>> import numpy as np
    >>> mask = causal_mask(np.arange(3), np.arange(3), sliding_window=2)
    >>> np.array(mask)[0].astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    key_positions = ops.expand_dims(key_positions, -2)
    distance = ops.expand_dims(query_positions, -1) - key_positions
    visible = ops.logical_and(distance >= 0, key_positions >= 0)
    if sliding_window is not None:
        visible = ops.logical_and(visible, distance < sliding_window)
    if len(visible.shape) == 2:
        visible = visible[None]
    if padding_mask is None:
        return visible
    # Not `[:, None]`: LiteRT lacks it for open sizes, tf2onnx mistakes `...`.
    real = ops.expand_dims(ops.cast(padding_mask, "bool"), 1)
    return ops.logical_and(visible, real)
