"""Numbers that say how well the experts are used."""

import numpy as np
from keras import ops

from keras_moe.losses.entropy import token_entropy_loss
from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.ops.replicas import sum_over_batch
from keras_moe.ops.widen import int32
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.plans import get_scores


def router_entropy(plan):
    """Compute the mean entropy of the router's distribution.

    log(E) for a router that cannot decide, 0 for one that is certain. Scores
    that do not sum to 1 (sigmoid) are normalized per token first.

    Args:
        plan: `TokenChoice` with scores.

    Returns:
        float32 scalar, in nats, over the real tokens.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    >>> round(float(router_entropy(plan)), 4)  # log(4)
    1.3863
    """
    return token_entropy_loss(plan)


def dropped_fraction(plan):
    """Compute the fraction of (token, choice) pairs that found no slot.

    Args:
        plan: a plan. None but a `TokenChoice` drops anything.

    Returns:
        float32 scalar between 0 and 1, over the pairs of real tokens.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import assign_slots, choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 2, 4), "float32"), top_k=1)
    >>> plan = assign_slots(plan, num_experts=4, capacity=1)
    >>> float(dropped_fraction(plan))
    0.5
    """
    if not isinstance(plan, TokenChoice):
        return ops.zeros((), "float32")
    per_expert = tokens_per_expert(plan)
    num_experts = per_expert.shape[-1]
    carried = ops.sum(
        ops.cast(int32(plan.expert_indices) < num_experts, "float32")
    )
    routed, carried = sum_over_batch(ops.sum(per_expert), carried)
    return (routed - carried) / ops.maximum(routed, 1.0)


def unrouted_fraction(plan):
    """Compute the fraction of tokens that no expert sees.

    The number to watch where experts choose (`ExpertChoice`), and with a
    capacity: these tokens pass through the residual connection alone.

    Args:
        plan: a plan with scores, as a router returns it.

    Returns:
        float32 scalar between 0 and 1, over the real tokens.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_tokens
    >>> logits = np.array([[1, 0], [2, 0], [0, 0]], "float32")
    >>> plan = choose_tokens(logits, capacity=1)  # tokens 1 and 2
    >>> round(float(unrouted_fraction(plan)), 4)
    0.3333
    """
    missed = 1.0 - ops.cast(plan.reached(), "float32")
    return mean_over_tokens(missed, get_scores(plan).padding_mask)


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
