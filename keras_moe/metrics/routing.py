"""Numbers that say how well the experts are used."""

import numpy as np
from keras import ops

from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.ops.padding import zero_padding
from keras_moe.routing.score_functions import normalize


def router_entropy(plan):
    """Compute the mean entropy of the router's distribution.

    log(E) for a router that cannot decide, 0 for one that is certain. Scores
    that do not sum to 1 (sigmoid) are normalized per token first.

    Args:
        plan: `RoutingPlan`.

    Returns:
        float32 scalar, in nats, over the real tokens.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    >>> round(float(router_entropy(plan)), 4)  # log(4)
    1.3863
    """
    probs, logits = (
        zero_padding(each, plan.padding_mask)
        for each in (plan.router_probs, plan.router_logits)
    )
    probs = normalize(probs, logits)
    surprise = -ops.log(ops.maximum(probs, 1e-20))
    return mean_over_tokens(
        ops.sum(probs * surprise, axis=-1), plan.padding_mask
    )


def dropped_fraction(plan, kept):
    """Compute the fraction of (token, choice) pairs that found no slot.

    Args:
        plan: `RoutingPlan`.
        kept: bool tensor of shape (..., K), as in `SlotAssignment`.

    Returns:
        float32 scalar between 0 and 1, over the pairs of real tokens.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 2, 4), "float32"), top_k=1)
    >>> kept = np.array([[[True], [False]]])
    >>> float(dropped_fraction(plan, kept))
    0.5
    """
    dropped = ops.mean(1.0 - ops.cast(kept, "float32"), axis=-1)
    return mean_over_tokens(dropped, plan.padding_mask)


def max_violation(expert_load):
    """Compute by how much the busiest expert exceeds its equal share.

    `MaxVio = max(load) / mean(load) - 1` (Wang et al., 2024,
    https://arxiv.org/abs/2408.15664, equation 4): 0 when balanced, E - 1
    when one expert gets everything.

    Args:
        expert_load: array of shape (E,), counts or fractions.

    Returns:
        float; 0.0 if the load is all zeros.

    Example:

    >>> max_violation([0.5, 0.25, 0.25, 0.0])
    1.0
    """
    expert_load = np.asarray(expert_load, "float64")
    mean = expert_load.mean()
    return float(expert_load.max() / mean - 1.0) if mean else 0.0
