"""The auxiliary loss that keeps the experts equally busy."""

from keras import ops

from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.losses.token_means import num_real_tokens
from keras_moe.ops.padding import zero_padding
from keras_moe.routing.plans import count_tokens
from keras_moe.routing.plans import get_scores
from keras_moe.routing.score_functions import normalize


def load_balancing_loss(plan):
    """Compute how far the routing is from an equal load.

    `E * sum_e(f_e * P_e) / K`, where `f_e` is the number of (token, choice)
    pairs on expert e over the number of real tokens, a constant for the
    gradient, and `P_e` the mean router probability of expert e over the real
    tokens (Switch, https://arxiv.org/abs/2101.03961, equations 4 to 6).
    Divided by K, which the paper does not need at K = 1, it is 1.0 when
    perfectly balanced. Pairs count where they were routed, before any drop.
    Scores that do not sum to 1 (sigmoid) are normalized per token first
    (DeepSeek-V3, https://arxiv.org/abs/2412.19437, equations 17 to 20).

    Args:
        plan: `TokenChoice` with scores.

    Returns:
        float32 scalar, dimensionless; 0 if there is no real token.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(8 * np.eye(4, dtype="float32"), top_k=1)
    >>> round(float(load_balancing_loss(plan)), 4)  # one token per expert
    1.0
    """
    logits, probs, padding_mask = get_scores(plan)[:3]
    num_experts = probs.shape[-1]
    top_k = plan.expert_indices.shape[-1]
    load = tokens_per_expert(plan) / num_real_tokens(padding_mask)
    probs, logits = (
        zero_padding(each, padding_mask) for each in (probs, logits)
    )
    mean_probs = mean_over_tokens(normalize(probs, logits), padding_mask)
    return num_experts * ops.sum(load * mean_probs) / top_k


def tokens_per_expert(plan):
    """Count the (token, choice) pairs that the router sends to each expert.

    Args:
        plan: `TokenChoice`, before or after pairs were dropped.

    Returns:
        float32 tensor of shape (E,), in pairs; padding does not count.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.array([[0.0, 1.0]], "float32"), top_k=1)
    >>> np.array(tokens_per_expert(plan)).tolist()
    [0.0, 1.0]
    """
    if plan.tokens_per_expert is None:
        plan = count_tokens(plan, get_scores(plan).probs.shape[-1])
    counts = ops.cast(plan.tokens_per_expert, "float32")
    if len(counts.shape) == 1:
        return counts
    return ops.sum(counts, axis=0)  # (G, E) -> (E,)
