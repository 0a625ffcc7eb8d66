"""The capacity oracle: how many slots an expert has, and who gets them."""

import math
from fractions import Fraction

import numpy as np

from keras_moe.testing.routing_oracle import real_tokens


def capacity(capacity_factor, group_size, top_k, num_experts):
    """Compute the slots per expert per group, at least one.

    `max(1, ceil(capacity_factor * S * K / E))` in exact arithmetic. The factor
    is the fraction it stands for, 11 / 10 for 1.1 and 5 / 3 for 1.6666666...:
    1.1 * 100 / 10 is then 11 and not, as in binary arithmetic, a little more,
    which `ceil` would make 12.

    Args:
        capacity_factor: float, 1.0 = exactly enough for a balanced load.
        group_size: int S, tokens per group, padding included.
        top_k: int K, experts per token.
        num_experts: int E.

    Returns:
        An int C, in slots per expert per group.

    Example:

    >>> capacity(1.25, group_size=10, top_k=2, num_experts=4)
    7
    >>> capacity(1.1, group_size=100, top_k=1, num_experts=10)
    11

    References:
        V-MoE, https://arxiv.org/abs/2106.05974, "buffer capacity", with
        `ceil` for its `round` and a floor of one slot.
    """
    factor = Fraction(float(capacity_factor)).limit_denominator(1_000_000)
    return max(1, math.ceil(factor * group_size * top_k / num_experts))


def drop(
    expert_indices,
    probs,
    padding_mask,
    capacity,
    priority="position",
    order="choice",
):
    """Decide which (token, choice) pairs find a slot at their expert.

    Every group hands out its slots on its own: all first choices before any
    second one, and within a choice in the order of `priority`; or all choices
    of a token before any of the next. Padding tokens take no slot.

    Args:
        expert_indices: int array of shape (G, S, K), the chosen experts.
        probs: float array of shape (G, S, E), scores after the score function;
            read only for priorities by score.
        padding_mask: bool array of shape (G, S), `True` = real token, or
            `None`.
        capacity: int C, slots per expert per group, or `None` for no limit.
        priority: `"position"`, earlier tokens first, `"score"`, tokens with
            the highest score of all experts first, or `"pair_score"`, pairs
            with the highest score of their expert first; ties by position.
        order: `"choice"` or `"token"`.

    Returns:
        A bool array of shape (G, S, K), `True` = the pair has a slot. It is
        `False` for every choice of a padding token.

    Raises:
        ValueError: for an unknown `priority`.

    Example:

    >>> import numpy as np
    >>> indices = np.array([[[0], [0], [0]]])  # one group, all to expert 0
    >>> probs = np.array([[[0.6, 0.4], [0.7, 0.3], [0.9, 0.1]]])
    >>> drop(indices, probs, None, capacity=2)[0, :, 0]
    array([ True,  True, False])
    >>> drop(indices, probs, None, capacity=2, priority="score")[0, :, 0]
    array([False,  True,  True])

    References:
        V-MoE, https://arxiv.org/abs/2106.05974: "position" is its vanilla
        routing, "score" its batch prioritized routing, within one group, with
        the token's largest score.
    """
    expert_indices = np.asarray(expert_indices)
    probs = np.asarray(probs, dtype=np.float64)
    num_groups, group_size, top_k = expert_indices.shape
    num_experts = probs.shape[-1]
    real = real_tokens(padding_mask, (num_groups, group_size))
    if capacity is None:
        capacity = group_size  # an expert cannot be chosen twice by a token
    kept = np.zeros((num_groups, group_size, top_k), dtype=bool)
    for g in range(num_groups):
        taken = [0] * num_experts
        for s, k in pair_order(expert_indices[g], probs[g], priority, order):
            e = expert_indices[g, s, k]
            if real[g, s] and taken[e] < capacity:
                kept[g, s, k] = True
                taken[e] += 1
    return kept


def pair_order(expert_indices, probs, priority, order):
    """List the (position, choice) pairs of one group, first served first."""
    group_size, top_k = expert_indices.shape
    if priority != "pair_score":
        tokens = token_order(probs, priority)
        pairs = [(s, k) for s in tokens for k in range(top_k)]
    else:
        pairs = [(s, k) for s in range(group_size) for k in range(top_k)]
        # A padding token's expert may be none; it takes no slot anyway.
        scores = np.pad(probs, ((0, 0), (0, 1)))
        pairs.sort(key=lambda p: -scores[p[0], expert_indices[p]])
    # Stable: within a choice, the order stays.
    return sorted(pairs, key=lambda p: p[1]) if order == "choice" else pairs


def token_order(probs, priority):
    """List the positions of one group, probs (S, E), first served first."""
    if priority == "position":
        return list(range(len(probs)))
    if priority == "score":
        order = []
        waiting = list(range(len(probs)))
        while waiting:
            first = waiting[0]
            for s in waiting:
                # Strictly larger: on a tie the earlier token stays.
                if max(probs[s]) > max(probs[first]):
                    first = s
            waiting.remove(first)
            order.append(first)
        return order
    raise ValueError(
        'Expected `priority` to be "pair_score", "position" or "score". '
        f"Received: priority={priority!r}. Choose one of them."
    )
