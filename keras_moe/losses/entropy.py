"""Entropies of the router's distribution as losses."""

import math

from keras import ops

from keras_moe.losses.shares import shares_of_probability
from keras_moe.losses.token_means import mean_over_tokens


def token_entropy_loss(plan):
    """Compute the mean entropy of the tokens' distributions.

    0 if the router is certain of one expert for every token, log(E) if it
    cannot decide (LIMoE, https://arxiv.org/abs/2206.02770, the local
    entropy loss).

    Args:
        plan: `TokenChoice` with scores.

    Returns:
        float32 scalar, in nats; 0 if there is no real token.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> probs = np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 1e-9]], "float32")
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> round(float(token_entropy_loss(plan)), 4)  # 2 / 3 * log(2)
    0.4621
    """
    entropies = _entropy(shares_of_probability(plan))
    return mean_over_tokens(entropies, plan.scores.padding_mask)


def mean_entropy_loss(plan, threshold=None):
    """Compute what the entropy of the mean distribution lacks.

    `threshold - H(mean of the tokens' probabilities)`, and 0 if that is
    negative: the router uses about `exp(threshold)` experts or more (LIMoE,
    https://arxiv.org/abs/2206.02770, the thresholded global entropy loss).

    Args:
        plan: `TokenChoice` with scores.
        threshold: optional float, in nats. `None` means log(E): all experts
            are used equally.

    Returns:
        float32 scalar, in nats; 0 if there is no real token.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.1, 0.9]], "float32")
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> round(float(mean_entropy_loss(plan)), 4)  # the mean is 0.57, 0.43
    0.0089
    """
    shares = shares_of_probability(plan)
    means = mean_over_tokens(shares, plan.scores.padding_mask)
    if threshold is None:
        threshold = math.log(shares.shape[-1])
    missing = ops.maximum(threshold - _entropy(means), 0.0)
    return ops.where(ops.sum(means) > 0, missing, 0.0)


def _entropy(shares):
    # p * log(p) goes to 0 with p, where log(p) alone does not exist.
    surprise = -ops.log(ops.maximum(shares, 1e-20))
    return ops.sum(shares * surprise, axis=-1)
