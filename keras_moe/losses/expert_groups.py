"""DeepSeek-V2's losses for experts that are spread over devices."""

from keras import ops

from keras_moe.losses.load_balancing import has_sequences
from keras_moe.losses.load_balancing import pairs_per_token
from keras_moe.losses.shares import shares_of_probability
from keras_moe.losses.token_means import mean_over_sequences
from keras_moe.losses.token_means import mean_over_tokens


def device_balancing_loss(plan, num_groups, per_sequence=True):
    """Compute how far the devices are from an equal load.

    `sum_d(f_d * P_d)`, where `f_d` is the mean of `E / K` times the
    (token, choice) pairs per token of the experts on device d, a constant
    for the gradient, and `P_d` the sum of their mean probabilities: 1.0 when
    the devices are balanced, however unequal the experts of one are
    (DeepSeek-V2, https://arxiv.org/abs/2405.04434, section 2.2.3,
    device-level balance loss).

    Args:
        plan: `TokenChoice` with scores.
        num_groups: int D, groups of E / D neighbouring experts.
        per_sequence: bool, whether each row of the batch has a loss of its
            own, and they are averaged.

    Returns:
        float32 scalar, dimensionless; 0 if there is no real token.

    Raises:
        ValueError: If the groups do not divide the experts.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = 8 * np.eye(4, dtype="float32")[[0, 1, 2]]
    >>> plan = choose_top_k(logits, top_k=1)
    >>> round(float(device_balancing_loss(plan, 2, False)), 2)  # 2 to 1
    1.11
    """
    per_sequence = per_sequence and has_sequences(plan)
    probs = _probs_of_groups(plan, num_groups, per_sequence)
    pairs = _by_group(pairs_per_token(plan, per_sequence), num_groups)
    top_k = plan.expert_indices.shape[-1]
    load = ops.sum(pairs, axis=-1) * num_groups / top_k
    return mean_over_sequences(
        ops.sum(load * probs, axis=-1), plan.scores.padding_mask
    )


def communication_balancing_loss(
    plan, num_groups, num_limited=None, per_sequence=True
):
    """Compute how far the devices are from receiving equally many tokens.

    `sum_d(f_d * P_d)`, where `f_d` is `D / M` times the part of the tokens
    that are sent to device d, once each however many of its experts they
    choose, a constant for the gradient, and `P_d` the sum of the mean
    probabilities of the experts on d (DeepSeek-V2,
    https://arxiv.org/abs/2405.04434, section 2.2.3, communication balance
    loss). 1.0 when each device receives as much
    as any other and every token goes to M devices.

    Args:
        plan: `TokenChoice` with scores.
        num_groups: int D, groups of E / D neighbouring experts.
        num_limited: optional int M, devices that a token is sent to at most.
            `None` means the smaller of D and K.
        per_sequence: bool, whether each row of the batch has a loss of its
            own, and they are averaged.

    Returns:
        float32 scalar, dimensionless; 0 if there is no real token.

    Raises:
        ValueError: If the groups do not divide the experts.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.array([[9, 8, 0, 0], [9, 8, 0, 0], [0, 0, 9, 8]])
    >>> plan = choose_top_k(logits.astype("float32"), top_k=2)
    >>> loss = communication_balancing_loss(plan, 2, 1, per_sequence=False)
    >>> round(float(loss), 2)  # 2 to 1
    1.11
    """
    per_sequence = per_sequence and has_sequences(plan)
    probs = _probs_of_groups(plan, num_groups, per_sequence)
    top_k = plan.expert_indices.shape[-1]
    num_limited = num_limited or min(num_groups, top_k)
    size = plan.scores.probs.shape[-1] // num_groups
    devices = plan.expert_indices // size  # Nowhere is device D.
    # (..., K) -> (..., K, D) -> (..., D)
    sent = devices[..., None] == ops.arange(num_groups, dtype=devices.dtype)
    sent = ops.cast(ops.any(sent, axis=-2), "float32")
    load = mean_over_tokens(sent, plan.scores.padding_mask, per_sequence)
    load = load * num_groups / num_limited
    return mean_over_sequences(
        ops.sum(load * probs, axis=-1), plan.scores.padding_mask
    )


def _probs_of_groups(plan, num_groups, per_sequence):
    shares = shares_of_probability(plan)
    num_experts = shares.shape[-1]
    if num_experts % num_groups:
        raise ValueError(
            "Expected `num_groups` to divide the number of experts. Received: "
            f"num_groups={num_groups}, num_experts={num_experts}."
        )
    means = mean_over_tokens(shares, plan.scores.padding_mask, per_sequence)
    return ops.sum(_by_group(means, num_groups), axis=-1)


def _by_group(values, num_groups):
    """Reshape (..., E) to (..., D, E / D)."""
    return ops.reshape(values, (*ops.shape(values)[:-1], num_groups, -1))
