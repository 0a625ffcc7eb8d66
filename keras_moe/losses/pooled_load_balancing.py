"""The load-balancing loss of transformers, over all layers at once."""

from keras import ops

from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.ops.padding import zero_padding
from keras_moe.ops.replicas import sum_over_batch
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
    _check_num_experts(plans)
    sums = [sums_of_tokens(plan) for plan in plans]
    return balance_of_sums(*(sum(each) for each in zip(*sums, strict=True)))


def sums_of_tokens(plan):
    """Compute what is added up over layers, before the loss of all of them.

    Args:
        plan: `TokenChoice` with scores.

    Returns:
        tuple of float32 tensors: the number of real tokens, a scalar; the
        pairs on each expert and the sum of its probabilities, shape (E,).

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.array([[0.0, 9.0]], "float32"), top_k=1)
    >>> num_tokens, pairs, probs = sums_of_tokens(plan)
    >>> float(num_tokens), np.array(pairs).tolist()
    (1.0, [0.0, 1.0])
    """
    scores = get_scores(plan)
    padding_mask, num_experts = scores.padding_mask, scores.logits.shape[-1]
    logits = zero_padding(scores.logits, padding_mask)
    by_logits = TokenChoice(
        stable_top_k(logits, plan.expert_indices.shape[-1]), 0.0
    )
    by_logits = hide_padding(by_logits, padding_mask, num_experts)
    return sum_over_batch(
        ops.sum(ops.cast(padding_mask, "float32")),
        tokens_per_expert(count_tokens(by_logits, num_experts)),
        _sum_over_tokens(softmax(logits), padding_mask),
    )


def balance_of_sums(num_tokens, pairs, probs):
    """Compute the load-balancing loss from sums over tokens.

    Args:
        num_tokens: float32 scalar.
        pairs: float32 tensor of shape (E,), (token, choice) pairs.
        probs: float32 tensor of shape (E,), sums of probabilities.

    Returns:
        float32 scalar, `E * sum_e(pairs_e * probs_e) / num_tokens ** 2`.

    Example:

    >>> import numpy as np
    >>> pairs, probs = np.float32([1, 2]), np.float32([1.5, 1.5])
    >>> float(balance_of_sums(np.float32(3), pairs, probs))
    1.0
    """
    # Divided twice: the square of a number of tokens may overflow.
    num_tokens = ops.maximum(num_tokens, 1.0)
    balance = ops.sum((pairs / num_tokens) * (probs / num_tokens))
    return pairs.shape[-1] * balance


def _sum_over_tokens(values, padding_mask):
    mask = ops.cast(padding_mask, "bool")[..., None]
    axes = tuple(range(len(padding_mask.shape)))
    return ops.sum(ops.where(mask, values, 0.0), axes)


def _check_num_experts(plans):
    numbers = sorted({get_scores(plan).logits.shape[-1] for plan in plans})
    if len(numbers) != 1:
        raise ValueError(
            "Expected plans of one or more layers with the same number of "
            f"experts. Received: {len(plans)} plans, numbers of experts "
            f"{numbers}. Add up a loss for each number."
        )
