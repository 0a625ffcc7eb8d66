"""The load-balancing loss of transformers, over all layers at once."""

from keras import ops

from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.ops.padding import zero_padding
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.plans import count_tokens
from keras_moe.routing.plans import get_scores
from keras_moe.routing.plans import hide_padding
from keras_moe.routing.score_functions import softmax


def pooled_load_balancing_loss(plans):
    """Compute the load-balancing loss as transformers does.

    `E * sum_e(f_e * P_e)` over the real tokens of all layers together, where
    `f_e` is the number of (token, choice) pairs on expert e over the number
    of tokens, a constant for the gradient, and `P_e` the mean probability of
    expert e (Switch, https://arxiv.org/abs/2101.03961, equations 4 to 6;
    `load_balancing_loss_func` in transformers). K when balanced, and less
    strict than the mean of `load_balancing_loss` over the layers: what one
    layer sends too little to expert e, another may make up for.

    For fine-tuning with a published coefficient. Choices and probabilities
    are those of the softmax of the logits, also where the routers have
    sigmoid scores, biases or groups of experts: so it is there.

    Args:
        plans: list of `TokenChoice` with scores, one for each sparse layer,
            with the same number of experts E.

    Returns:
        float32 scalar, dimensionless; 0 if there is no real token.

    Raises:
        ValueError: If there is no plan, or their numbers of experts differ.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = 8 * np.eye(4, dtype="float32")
    >>> plans = [choose_top_k(logits[:2], 1), choose_top_k(logits[2:], 1)]
    >>> round(float(pooled_load_balancing_loss(plans)), 4)
    1.0
    """
    num_experts = _common_num_experts(plans)
    num_tokens = pairs = probs = 0.0
    for plan in plans:
        logits, _, padding_mask = plan.scores[:3]
        logits = zero_padding(logits, padding_mask)
        num_tokens += ops.sum(ops.cast(padding_mask, "float32"))
        by_logits = TokenChoice(
            stable_top_k(logits, plan.expert_indices.shape[-1]), 0.0
        )
        by_logits = hide_padding(by_logits, padding_mask, num_experts)
        pairs += tokens_per_expert(count_tokens(by_logits, num_experts))
        probs += _sum_over_tokens(softmax(logits), padding_mask)
    # Divided twice: the square of a number of tokens may overflow.
    num_tokens = ops.maximum(num_tokens, 1.0)
    return num_experts * ops.sum((pairs / num_tokens) * (probs / num_tokens))


def _sum_over_tokens(values, padding_mask):
    mask = ops.cast(padding_mask, "bool")[..., None]
    axes = tuple(range(len(padding_mask.shape)))
    return ops.sum(ops.where(mask, values, 0.0), axes)


def _common_num_experts(plans):
    numbers = sorted({get_scores(plan).logits.shape[-1] for plan in plans})
    if len(numbers) != 1:
        raise ValueError(
            "Expected plans of one or more layers with the same number of "
            f"experts. Received: {len(plans)} plans, numbers of experts "
            f"{numbers}. Add up a loss for each number."
        )
    return numbers[0]
