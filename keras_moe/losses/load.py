"""Shazeer's loss that gives every expert the same number of tokens."""

import math

from keras import ops

from keras_moe.losses.importance import squared_variation
from keras_moe.losses.token_means import mean_over_tokens
from keras_moe.ops.padding import zero_padding
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.routing.plans import get_scores

# No noise at all would be divided by.
SMALLEST_STDDEV = 1e-6


def load_loss(plan, own_threshold=True):
    """Compute the squared coefficient of variation of the smooth load.

    An expert's smooth load is the number of tokens that would choose it if
    its noise, and no other expert's, were drawn again: the sum of
    `Phi((logit - threshold) / stddev)`, which unlike the number of tokens has
    a gradient (Shazeer et al., 2017, https://arxiv.org/abs/1701.06538,
    equations 8 to 11). The threshold is the K-th largest noisy logit of the
    other experts.

    Args:
        plan: `TokenChoice` of a router with normal noise, while training.
        own_threshold: bool. `False`: the threshold is the K-th largest noisy
            logit of all experts, as in V-MoE
            (https://arxiv.org/abs/2106.05974, appendix A.2).

    Returns:
        float32 scalar, dimensionless; 0 if there is no real token.

    Raises:
        ValueError: If the plan is of a router without normal noise.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.array([[1, 0], [1, 0], [0, 1]], "float32")
    >>> plan = choose_top_k(logits, top_k=1)
    >>> plan = plan._replace(scores=plan.scores._replace(
    ...     noisy_logits=logits, noise_stddev=np.float32(1.0)))
    >>> # Phi(1) = 0.8413 for the larger logit, else 0.1587: 1.8413, 1.1587
    >>> round(float(load_loss(plan)), 4)
    0.0518
    """
    scores = get_scores(plan)
    if scores.noisy_logits is None:
        raise ValueError(
            "Expected the plan of a router with normal noise, while training. "
            "Received: a plan without noise. Use a `NoisyTopKRouter`, "
            "`TopKRouter(logit_noise=LogitNoise())`, or an `ImportanceLoss`."
        )
    mask, top_k = scores.padding_mask, plan.expert_indices.shape[-1]
    logits = zero_padding(scores.logits, mask)
    noisy = zero_padding(scores.noisy_logits, mask)
    stddev = ops.maximum(scores.noise_stddev, SMALLEST_STDDEV)
    stddev = ops.where(ops.cast(mask, "bool")[..., None], stddev, 1.0)
    if own_threshold:
        threshold = _kth_of_others(noisy, top_k)
    else:
        threshold = _largest(noisy, top_k)[..., top_k - 1 :]
    # Phi, whose argument grows with large logits and little noise.
    chances = 0.5 + 0.5 * ops.erf((logits - threshold) / stddev / math.sqrt(2))
    return squared_variation(mean_over_tokens(chances, mask))


def _kth_of_others(noisy, top_k):
    """Return for each expert the K-th largest of the others, (..., E)."""
    num_experts = noisy.shape[-1]
    if top_k == num_experts:
        # Every expert is chosen, whatever its noise.
        return ops.full_like(noisy, -1e30)
    largest = _largest(noisy, top_k + 1)
    kth, next_one = largest[..., top_k - 1 : top_k], largest[..., top_k:]
    return ops.where(noisy > next_one, next_one, kth)


def _largest(values, k):
    return ops.take_along_axis(values, stable_top_k(values, k), axis=-1)
