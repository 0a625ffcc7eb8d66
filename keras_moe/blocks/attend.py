"""The arithmetic of attention with shared key/value heads."""

import math

from keras import ops

from keras_moe.ops.widen import widen


def attend(query, key, value, visible, scale=None, soft_cap=None):
    """Mix the values that each query may look at.

    `softmax(scale * query key^T) value`, and with a soft cap s the scores
    are `s * tanh(scores / s)` (Gemma 2, https://arxiv.org/abs/2408.00118,
    section 2). Scores and softmax are float32 or wider. A query that sees
    nothing gets the mean of all values.

    Args:
        query: float tensor of shape (B, L, N, D).
        key: float tensor of shape (B, M, X, D), M a divisor of N. Heads
            come first here: one query then reads keys and values as they lie
            in the cache, without transposing or repeating them.
        value: float tensor of shape (B, M, X, F).
        visible: bool tensor of shape (B, L, X) or (1, L, X).
        scale: optional float; `None` means `1 / sqrt(D)`.
        soft_cap: optional float, largest magnitude of a score.

    Returns:
        Tensor of shape (B, L, N, F).

    Example:

    >>> import numpy as np
    >>> query, key = np.ones((1, 3, 4, 8)), np.ones((1, 2, 3, 8))
    >>> value = np.arange(3.0).reshape(1, 1, 3, 1) * np.ones((1, 2, 3, 5))
    >>> outputs = attend(query, key, value, np.tril(np.ones((1, 3, 3))) > 0)
    >>> np.array(outputs)[0, :, 0, 0].round(4).tolist()  # 0, 0+1, 0+1+2
    [0.0, 0.5, 1.0]
    """
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    same_width = key.shape[-1] == value.shape[-1]
    if query.shape[1] == 1 or soft_cap is not None or not same_width:
        return _attend(query, key, value, visible, scale, soft_cap)
    # Keras knows each backend's fused kernels.
    return ops.dot_product_attention(
        query,
        *(_repeat(each, query.shape[2]) for each in (key, value)),
        # The mask needs the query's batch size: torch does not broadcast it.
        mask=ops.broadcast_to(
            visible[:, None],
            (ops.shape(query)[0], 1, *ops.shape(visible)[1:]),
        ),
        scale=scale,
    )


def _attend(query, key, value, visible, scale, soft_cap):
    batch_size, length = ops.shape(query)[:2]
    num_heads, head_dim = query.shape[2:]
    shared = key.shape[1]
    groups = num_heads // shared
    # Rows of one product: all queries that look at the same keys.
    query = ops.reshape(
        ops.transpose(query, (0, 2, 1, 3)),
        (batch_size, shared, groups * length, head_dim),
    )
    scores = ops.matmul(query, ops.swapaxes(key, 2, 3))
    scores = widen(scores) * scale
    if soft_cap is not None:
        scores = soft_cap * ops.tanh(scores / soft_cap)
    scores = ops.reshape(scores, (batch_size, shared * groups, length, -1))
    scores = ops.where(visible[:, None], scores, -1e30)
    weights = ops.cast(ops.softmax(scores), value.dtype)
    weights = ops.reshape(weights, (batch_size, shared, groups * length, -1))
    outputs = ops.matmul(weights, value)
    outputs = ops.reshape(
        outputs, (batch_size, num_heads, length, value.shape[-1])
    )
    return ops.transpose(outputs, (0, 2, 1, 3))


def _repeat(heads, num_heads):
    # Keras repeats shared heads by itself, but a single one only on JAX and
    # PyTorch.
    heads = ops.transpose(heads, (0, 2, 1, 3))
    return heads if heads.shape[2] > 1 else ops.repeat(heads, num_heads, axis=2)
