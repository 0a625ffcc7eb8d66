"""Shazeer's loss that gives every expert the same importance."""

from keras import ops

from keras_moe.losses.shares import shares_of_probability
from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.ops.replicas import sum_over_batch
from keras_moe.ops.widen import int32
from keras_moe.routing.plans import get_scores

WEIGHTINGS = ("combine_weights", "probs")


def importance_loss(plan, of="combine_weights"):
    """Compute the squared coefficient of variation of the importance.

    An expert's importance is the sum over the tokens of what weights it:
    of the combine weights (Shazeer et al., 2017,
    https://arxiv.org/abs/1701.06538, equations 6 and 7), or of the
    probabilities of all experts (V-MoE, https://arxiv.org/abs/2106.05974,
    appendix A.2). 0 when all experts are equally important.

    Args:
        plan: `TokenChoice` with scores.
        of: `"combine_weights"` or `"probs"`.

    Returns:
        float32 scalar, dimensionless; 0 if there is no real token.

    Raises:
        ValueError: If `of` is unknown.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import CombineWeights, choose_top_k
    >>> probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.1, 0.9]], "float32")
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> round(float(importance_loss(plan)), 4)  # of 1.6 and 0.9
    0.0784
    """
    check_weighting(of)
    scores = get_scores(plan)
    if of == "probs":
        means = mean_over_tokens(
            shares_of_probability(plan), scores.padding_mask
        )
        return squared_variation(means)
    num_experts = scores.probs.shape[-1]
    importance = ops.segment_sum(
        ops.reshape(plan.combine_weights, (-1,)),
        ops.reshape(int32(plan.expert_indices), (-1,)),
        num_segments=num_experts + 1,
    )
    # The last: nowhere.
    return squared_variation(*sum_over_batch(importance[:num_experts]))


def squared_variation(values):
    """Compute the squared coefficient of variation, `var / mean ** 2`.

    Args:
        values: float32 tensor of shape (E,), not negative.

    Returns:
        float32 scalar, dimensionless; 0 if all values are 0.

    Example:

    >>> import numpy as np
    >>> float(squared_variation(np.float32([1, 3])))
    0.25
    """
    mean = ops.mean(values)
    values = values / ops.where(mean > 0, mean, 1.0)
    return ops.mean(ops.square(values - ops.mean(values)))


def check_weighting(of):
    """Raise unless `of` says what makes an expert important.

    Args:
        of: the name to check.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_weighting("probs")
    """
    if of not in WEIGHTINGS:
        raise ValueError(
            f"Expected `of` to be one of {list(WEIGHTINGS)}. "
            f"Received: of={of!r}."
        )
