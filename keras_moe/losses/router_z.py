"""The auxiliary loss that keeps the router's logits small."""

from keras import ops

from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.ops.padding import zero_padding
from keras_moe.routing.plans import get_scores


def router_z_loss(plan):
    """Compute the mean squared log-partition of the router's logits.

    `mean over real tokens of logsumexp(logits)^2` (ST-MoE,
    https://arxiv.org/abs/2202.08906, equation 5).

    Args:
        plan: `TokenChoice` with scores.

    Returns:
        float32 scalar, in nats squared; 0 if there is no real token.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    >>> round(float(router_z_loss(plan)), 4)  # log(4) ** 2
    1.9218
    """
    scores = get_scores(plan)
    logits = zero_padding(scores.logits, scores.padding_mask)
    log_partition = ops.logsumexp(logits, axis=-1)
    return mean_over_tokens(ops.square(log_partition), scores.padding_mask)
