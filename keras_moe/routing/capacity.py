"""How many tokens an expert accepts."""

from fractions import Fraction

from keras import ops

from keras_moe.ops.widen import int32
from keras_moe.routing.validation import check_positive


def expert_capacity(capacity_factor, group_size, top_k, num_experts):
    """Compute the slots that each expert has for each group of tokens.

    `max(1, ceil(capacity_factor * S * K / E))`: a factor of 1.0 is room for
    a perfectly balanced group. This is the definition of V-MoE
    (https://arxiv.org/abs/2106.05974, section 2.3) without its rounding to a
    multiple of 4; Switch (https://arxiv.org/abs/2101.03961, equation 3) is
    the case K = 1. Computed in integers: 1.1 * 10 slots are 11, not the 12
    that rounding up the float product gives.

    Args:
        capacity_factor: positive float.
        group_size: int S, or a scalar tensor where the length is unknown
            while tracing.
        top_k: int K.
        num_experts: int E.

    Returns:
        C as an int, or as a scalar int32 tensor if `group_size` is one.

    Raises:
        ValueError: If `capacity_factor` is not positive.

    Example:

    >>> expert_capacity(1.25, group_size=16, top_k=1, num_experts=8)
    3
    """
    if capacity_factor <= 0:
        raise ValueError(
            "Expected `capacity_factor` to be positive, or `None` for "
            f"dropless routing. Received: capacity_factor={capacity_factor}"
        )
    # Python's integers do not overflow, NumPy's do.
    factor = Fraction(float(capacity_factor)).limit_denominator(10_000)
    numerator = factor.numerator * int(top_k)
    denominator = factor.denominator * int(num_experts)
    if ops.is_tensor(group_size):
        slots = ops.cast(group_size, "int64") * numerator
        slots = (slots + denominator - 1) // denominator
        return ops.maximum(int32(slots), int32(1))
    return max(1, -(-int(group_size) * numerator // denominator))


def fixed_capacity(expert_capacity, group_size):
    """Leave out the slots of a fixed number that cannot be filled.

    A token chooses an expert once, so a group of S fills at most S.

    Args:
        expert_capacity: positive int.
        group_size: int S, or a scalar tensor where the length is unknown
            while tracing.

    Returns:
        C as an int, or as a scalar int32 tensor if `group_size` is one.

    Example:

    >>> fixed_capacity(64, group_size=10)
    10
    """
    if ops.is_tensor(group_size):
        return ops.minimum(int32(group_size), int32(expert_capacity))
    return min(int(group_size), int(expert_capacity))


def check_capacity(capacity_factor, eval_capacity_factor, slots):
    """Raise unless a layer's capacity is given in one way.

    Args:
        capacity_factor: positive float or `None`.
        eval_capacity_factor: positive float or `None`.
        slots: the layer's `expert_capacity`, positive int or `None`.

    Raises:
        ValueError: If a number is not positive, or factors and slots are
            given.

    Example:

    >>> check_capacity(1.25, 2.0, None)
    """
    factors = [
        factor
        for factor in (capacity_factor, eval_capacity_factor)
        if factor is not None
    ]
    for factor in factors:
        expert_capacity(factor, 1, 1, 1)
    if slots is None:
        return
    check_positive(expert_capacity=slots)
    if factors:
        raise ValueError(
            "Expected `expert_capacity` or capacity factors, not both. "
            f"Received: expert_capacity={slots}, "
            f"capacity_factor={capacity_factor}, "
            f"eval_capacity_factor={eval_capacity_factor}. Leave one out."
        )
