"""Which tokens each expert gets: ST-MoE's tables."""

import numpy as np

from keras_moe.analysis.choices import check_tokens
from keras_moe.analysis.choices import real_choices


def count_choices(
    token_ids, routed_experts, num_experts, vocabulary_size, mask=None
):
    """Count how often each token goes to each expert, by layer.

    Args:
        token_ids: int array of shape (B, L), 0 to V - 1.
        routed_experts: int array of shape (B, L, layers, K); numbers other
            than 0 to E - 1 mean nowhere. `routed_experts[..., :1]` counts
            first choices alone.
        num_experts: int E.
        vocabulary_size: int V.
        mask: optional bool array of shape (B, L), True = real token.

    Returns:
        int64 array of shape (layers, V, E).

    Raises:
        ValueError: If the shapes do not fit together.

    Example:

    >>> routed = np.array([0, 1, 1]).reshape(1, 3, 1, 1)
    >>> count_choices(np.array([[5, 5, 2]]), routed, 2, 6)[0, 5].tolist()
    [1, 1]

    References:
        Zoph et al., 2022, https://arxiv.org/abs/2202.08906, section 7.
    """
    real = real_choices(routed_experts, num_experts, mask)
    check_tokens(token_ids, routed_experts, "token_ids")
    token_ids, routed_experts = (
        np.asarray(token_ids),
        np.asarray(routed_experts),
    )
    num_layers = routed_experts.shape[2]
    tokens = np.broadcast_to(token_ids[:, :, None, None], real.shape)
    layers = np.broadcast_to(np.arange(num_layers)[:, None], real.shape)
    shape = (num_layers, vocabulary_size, num_experts)
    places = np.ravel_multi_index(
        (layers[real], tokens[real], routed_experts[real]), shape
    )
    size = int(np.prod(shape))
    return np.bincount(places, minlength=size).reshape(shape)


def top_tokens(counts, number=10, by="lift", smallest_count=5):
    """List the tokens that are typical of each expert of a layer.

    By count, the frequent tokens of the text lead in every list. By lift they
    lead only where the expert gets more of them than of others: lift is the
    expert's share of a token's choices over its share of all choices,
    `P(expert | token) / P(expert)`. Lifts of rare tokens are chance, so tokens
    with few choices of the expert are left out, and so are tokens that it gets
    no more of than others do.

    Args:
        counts: int array of shape (V, E), one layer of `count_choices`.
        number: int, tokens of each expert.
        by: `"lift"` or `"count"`; ties go to the larger count, then to the
            lower token.
        smallest_count: int, choices of the expert that a token needs.

    Returns:
        list of E lists of (token, count, lift), the most typical first.

    Raises:
        ValueError: If `by` is unknown.

    Example:

    >>> counts = np.array([[90, 30], [10, 0], [0, 10]])
    >>> top_tokens(counts, number=1)
    [[(1, 10, 1.4)], [(2, 10, 3.5)]]
    >>> top_tokens(counts, number=1, by="count")
    [[(0, 90, 1.05)], [(0, 30, 0.875)]]
    """
    if by not in ("lift", "count"):
        raise ValueError(
            "Expected `by` to be 'lift' or 'count'. "
            f"Received: by={by!r}. Choose one of them."
        )
    counts = np.asarray(counts)
    of_tokens = np.maximum(counts.sum(1, keepdims=True), 1)
    of_experts = np.maximum(counts.sum(0), 1)
    lift = counts / of_tokens * (counts.sum() / of_experts)
    lists = []
    for count, each in zip(counts.T, lift.T, strict=True):
        first, second = (each, count) if by == "lift" else (count, each)
        order = np.lexsort((-second, -first))
        listed = count >= max(smallest_count, 1)
        if by == "lift":
            listed &= each > 1
        order = order[listed[order]][:number]
        lists.append(
            [(int(t), int(count[t]), round(float(each[t]), 6)) for t in order]
        )
    return lists
