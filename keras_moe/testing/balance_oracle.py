"""The balance oracle: the router's losses and the numbers to watch."""

import math

import numpy as np

from keras_moe.testing.routing_oracle import real_tokens


def load_balancing_loss(expert_indices, probs, padding_mask=None):
    """Compute the load-balancing loss, 1.0 when the experts are balanced.

    `E * sum_e(f_e * P_e) / K`, where `f_e` is the number of (token, choice)
    pairs on expert e per real token, and `P_e` the mean over the real tokens
    of the token's share of probability on e. Shares are `probs` divided by
    their sum over the experts: nothing changes for softmax scores, and sigmoid
    scores become comparable. The paper has K = 1; dividing by K keeps the
    balanced value at 1.0 for every K.

    Args:
        expert_indices: int array of shape (..., K), the chosen experts.
        probs: float array of shape (..., E), scores after the score function.
        padding_mask: bool array of shape (...), `True` = real token.

    Returns:
        A float, dimensionless; 0.0 when there is no real token.

    Example:

    >>> import numpy as np
    >>> probs = np.array([[0.75, 0.25], [0.25, 0.75]])
    >>> load_balancing_loss(np.array([[0], [1]]), probs)
    1.0
    >>> load_balancing_loss(np.array([[0], [0]]), probs[[0, 0]])
    1.5

    References:
        Switch Transformers, https://arxiv.org/abs/2101.03961, equations 4 to 6.
    """
    expert_indices = np.asarray(expert_indices)
    probs = np.asarray(probs, dtype=np.float64)
    top_k = expert_indices.shape[-1]
    num_experts = probs.shape[-1]
    shares = [share(p) for p in _real_rows(probs, padding_mask)]
    if not shares:
        return 0.0
    counts = tokens_per_expert(expert_indices, num_experts, padding_mask)
    loss = 0.0
    for e in range(num_experts):
        pairs_per_token = counts[e] / len(shares)
        mean_share = sum(row[e] for row in shares) / len(shares)
        loss += pairs_per_token * mean_share
    return float(num_experts * loss / top_k)


def router_z_loss(logits, padding_mask=None):
    """Compute the mean over the real tokens of `logsumexp(logits) ** 2`.

    Args:
        logits: float array of shape (..., E), before the score function.
        padding_mask: bool array of shape (...), `True` = real token.

    Returns:
        A float, in nats squared; 0.0 when there is no real token.

    Example:

    >>> import numpy as np
    >>> round(router_z_loss(np.zeros((5, 2))), 6)  # log(2) ** 2
    0.480453

    References:
        ST-MoE, https://arxiv.org/abs/2202.08906, equation 5.
    """
    logits = np.asarray(logits, dtype=np.float64)
    squares = [logsumexp(row) ** 2 for row in _real_rows(logits, padding_mask)]
    return float(sum(squares) / len(squares)) if squares else 0.0


def router_entropy(probs, padding_mask=None):
    """Compute the mean entropy of the real tokens' scores, in nats.

    Scores are divided by their sum over the experts first, which changes
    nothing for softmax. 0 is a router sure of one expert, `log(E)` a router
    without an opinion.

    Args:
        probs: float array of shape (..., E), scores after the score function.
        padding_mask: bool array of shape (...), `True` = real token.

    Returns:
        A float, in nats; 0.0 when there is no real token.

    Example:

    >>> import numpy as np
    >>> router_entropy(np.array([[1.0, 0.0]]))
    0.0
    >>> round(router_entropy(np.array([[0.5, 0.5]])), 6)  # log(2)
    0.693147
    """
    probs = np.asarray(probs, dtype=np.float64)
    entropies = []
    for row in _real_rows(probs, padding_mask):
        # p * log(p) goes to 0 with p, where log(p) alone does not exist.
        terms = [-p * math.log(p) for p in share(row) if p != 0.0]
        entropies.append(sum(terms))
    return float(sum(entropies) / len(entropies)) if entropies else 0.0


def tokens_per_expert(expert_indices, num_experts, padding_mask=None):
    """Count the (token, choice) pairs of real tokens on every expert.

    Args:
        expert_indices: int array of shape (..., K), the chosen experts.
        num_experts: int E.
        padding_mask: bool array of shape (...), `True` = real token.

    Returns:
        An int64 array of shape (E,), pairs before any are dropped.

    Example:

    >>> import numpy as np
    >>> indices = np.array([[2, 0], [2, 1], [0, 2]])
    >>> tokens_per_expert(indices, 4, np.array([True, True, False]))
    array([1, 1, 2, 0])
    """
    counts = np.zeros(num_experts, dtype=np.int64)
    for row in _real_rows(np.asarray(expert_indices), padding_mask):
        for e in row:
            counts[e] += 1
    return counts


def expert_bias_update(counts, update_rate):
    """Compute the step of the selection bias, expert by expert.

    Args:
        counts: array of shape (E,), the pairs on every expert.
        update_rate: float.

    Returns:
        A float64 array of shape (E,): `-update_rate` where there are more
        than the mean, `update_rate` where there are fewer.

    Example:

    >>> expert_bias_update([4, 2, 0], 0.5)
    array([-0.5,  0. ,  0.5])

    References:
        Wang et al. 2024, https://arxiv.org/abs/2408.15664, algorithm 1.
    """
    steps = np.zeros(len(counts))
    for e, count in enumerate(counts):
        # Whole numbers: E * count against the sum of all.
        excess = len(counts) * int(count) - sum(int(each) for each in counts)
        if excess > 0:
            steps[e] = -update_rate
        elif excess < 0:
            steps[e] = update_rate
    return steps


def max_violation(counts):
    """Compute how far the busiest expert is above an equal load.

    `E * max(load) - 1`, where `load` is an expert's fraction of all pairs: 0.0
    when balanced, 1.0 when one expert has twice its part, E - 1 at worst.

    Args:
        counts: array of shape (E,), the pairs on every expert.

    Returns:
        A float, dimensionless; 0.0 when there is no pair.

    Example:

    >>> max_violation([4, 2, 1, 1])
    1.0

    References:
        Wang et al. 2024, https://arxiv.org/abs/2408.15664, "MaxVio", there
        written (max(load) - mean(load)) / mean(load).
    """
    total = sum(int(count) for count in counts)
    if total == 0:
        return 0.0
    return float(len(counts) * int(max(counts)) / total - 1.0)


def share(probs):
    """Divide the scores (E,) of one token by their sum."""
    total = sum(probs)
    # Every sigmoid score may underflow: no share rather than 0 / 0.
    return probs / total if total != 0.0 else np.zeros(len(probs))


def logsumexp(logits):
    """Compute `log(sum(exp(logits)))` of one token without overflow."""
    largest = max(logits)
    return largest + math.log(sum(np.exp(logits - largest)))


def _real_rows(rows, padding_mask):
    """Collect the last-axis rows of the real tokens in a list."""
    real = real_tokens(padding_mask, rows.shape[:-1]).reshape(-1)
    rows = rows.reshape(-1, rows.shape[-1])
    return [rows[t] for t in range(len(rows)) if real[t]]
