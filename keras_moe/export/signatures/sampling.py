"""Choose the next token of each row, by the row's own wishes."""

from keras import ops

from keras_moe.export.signatures.murmur_hash import uniform
from keras_moe.ops.sorting import top_k as indices_of_top_k
from keras_moe.ops.widen import int32

# A temperature below this is this: dividing by less could give NaN.
COLDEST = 1e-6
LOWEST = -1e30


def choose_tokens(logits, temperature, top_k, top_p, seed, position):
    """Choose the next tokens.

    A row's token depends on its own arguments and logits alone: the first
    token, from the most probable one on, at which the probabilities add up to
    more than the random number of seed and position.

    Args:
        logits: float32 tensor of shape (B, V). NaN is the lowest score.
        temperature: float32 tensor of shape (B,), divides the logits; 0 or
            less for the most probable token.
        top_k: int32 tensor of shape (B,), how many of the most probable
            tokens come into question; 0 or less for all.
        top_p: float32 tensor of shape (B,): the fewest of the most probable
            of these whose probabilities add up to so much come into question,
            at least one; all if it is not above 0 and below 1.
        seed: int32 tensor of shape (B,).
        position: int32 tensor of shape (B,), of the tokens to be chosen.

        Each of shape (1,) for all rows, too.

    Returns:
        int32 tensor of shape (B,). Among equals the lower id comes first.

    Example:

    >>> import numpy as np
    >>> logits = np.array([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]], "float32")
    >>> zero, one = np.zeros(1, "int32"), np.ones(1, "float32")
    >>> tokens = choose_tokens(logits, 0 * one, zero, one, zero, zero)
    >>> np.array(tokens).tolist()
    [1, 0]

    References:
        Holtzman et al., 2020, https://arxiv.org/abs/1904.09751 (top-p);
        Fan et al., 2018, https://arxiv.org/abs/1805.04833 (top-k).
    """
    logits = ops.cast(logits, "float32")
    logits = ops.where(ops.isnan(logits), LOWEST, logits)
    logits = ops.clip(logits, LOWEST, -LOWEST)
    temperature = ops.cast(temperature, "float32")
    is_sampled = temperature > 0.0

    def most_probable():
        return indices_of_top_k(logits, 1)[:, 0]

    def sampled():
        token_ids = indices_of_top_k(logits, logits.shape[-1])
        scores = ops.take_along_axis(logits, token_ids, axis=-1)
        scores = scores - scores[:, :1]
        scores = scores / ops.maximum(temperature, COLDEST)[:, None]
        rank = _draw_rank(
            ops.exp(scores), top_k, top_p, uniform(seed, position)
        )
        rank = ops.where(is_sampled, rank, ops.zeros_like(rank))
        return ops.take_along_axis(token_ids, rank[:, None], axis=-1)[:, 0]

    # Sorting the vocabulary takes long, so only if some row asks for it.
    return ops.cond(ops.any(is_sampled), sampled, most_probable)


def _draw_rank(weights, top_k, top_p, number):
    """Draw a rank from falling weights (B, V) that add up to anything."""
    size = weights.shape[-1]
    top_k = ops.cast(top_k, "int32")
    top_k = ops.where(top_k > 0, top_k, int32(size))
    top_p = ops.cast(top_p, "float32")
    is_share = ops.logical_and(top_p > 0.0, top_p < 1.0)
    top_p = ops.where(is_share, top_p, 1.0)
    rank = ops.arange(size, dtype="int32")
    weights = ops.where(rank < top_k[:, None], weights, 0.0)
    total = ops.cumsum(weights, axis=-1)
    needed = top_p[:, None] * total[:, -1:]
    last = ops.sum(ops.cast(total - weights < needed, "int32"), axis=-1) - 1
    last = ops.maximum(last, int32(0))[:, None]
    number = number[:, None] * ops.take_along_axis(total, last, axis=-1)
    drawn = ops.sum(ops.cast(total <= number, "int32"), axis=-1)
    return ops.minimum(drawn, last[:, 0])
