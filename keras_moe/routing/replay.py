"""Choices of experts that were made before, taken again."""

import math

import numpy as np
from keras import ops

from keras_moe.ops.widen import int32
from keras_moe.routing.plans import keep_pairs

# The index of a token that is to choose now.
FREE = -1
# The logit of nowhere: no score of an expert is as low.
LOWEST = -1e30


def as_choices(expert_indices, inputs, top_k):
    """Bring choices to the shape of the tokens.

    Args:
        expert_indices: ints of shape (..., K).
        inputs: float tensor of as many tokens, (..., X).
        top_k: int K.

    Returns:
        int32 tensor of shape (..., K).

    Raises:
        ValueError: If the static shapes do not fit.

    Example:

    >>> import numpy as np
    >>> as_choices([[1, 0], [2, 1]], np.ones((1, 2, 8)), 2).shape[-1]
    2
    """
    expert_indices = ops.convert_to_tensor(expert_indices, dtype="int32")
    expected = (*inputs.shape[:-1], top_k)
    received = tuple(expert_indices.shape)
    if not _fits(received, expected):
        raise ValueError(
            "Expected `expert_indices` to hold `top_k` experts for each "
            f"token: shape {expected}. Received: shape {received}. Give back "
            "what was recorded of the same tokens with the same `top_k`."
        )
    return ops.reshape(expert_indices, (*ops.shape(inputs)[:-1], top_k))


def replayed(expert_indices, free_indices, num_experts):
    """Take given choices in place of free ones.

    Args:
        expert_indices: int32 tensor of shape (..., K): experts, E for
            nowhere, or -1 throughout for a token that chooses freely.
        free_indices: int32 tensor of shape (..., K), the free choice.
        num_experts: int E.

    Returns:
        int32 tensor of shape (..., K). An index out of range is 0.

    Raises:
        ValueError: If an index is out of range, unless a compiler is tracing.

    Example:

    >>> import numpy as np
    >>> given, free = np.array([[3], [-1]]), np.array([[0], [2]])
    >>> np.array(replayed(given, free, 4)).tolist()
    [[3], [2]]
    """
    _check_range(expert_indices, num_experts)
    is_free = expert_indices[..., :1] == FREE
    given = ops.where(
        _is_known(expert_indices, num_experts), int32(expert_indices), int32(0)
    )
    return ops.where(is_free, int32(free_indices), given)


def with_nowhere(logits, probs):
    """Append nowhere as an expert that scores nothing.

    Args:
        logits: float32 tensor of shape (..., E).
        probs: float32 tensor of shape (..., E).

    Returns:
        Two float32 tensors of shape (..., E + 1).
    """
    zeros = ops.zeros_like(logits[..., :1])
    return (
        ops.concatenate([logits, zeros + LOWEST], axis=-1),
        ops.concatenate([probs, zeros], axis=-1),
    )


def finish_replay(plan, expert_indices, num_experts):
    """Give nowhere the weight 0, and indices out of range the weight NaN.

    A compiled step cannot raise: a loss of NaN tells that they were wrong.

    Args:
        plan: `TokenChoice` of the replayed choices.
        expert_indices: int32 tensor of shape (..., K), as they were given.
        num_experts: int E.

    Returns:
        `TokenChoice`.
    """
    plan = keep_pairs(plan, plan.expert_indices < num_experts, num_experts)
    is_right = ops.logical_or(
        _is_known(expert_indices, num_experts),
        expert_indices[..., :1] == FREE,
    )
    weights = ops.where(is_right, plan.combine_weights, float("nan"))
    return plan._replace(combine_weights=weights)


def _is_known(expert_indices, num_experts):
    return ops.logical_and(expert_indices >= 0, expert_indices <= num_experts)


def _check_range(expert_indices, num_experts):
    try:
        values = ops.convert_to_numpy(expert_indices)
    except Exception:  # Each backend has its own, for tensors without values.
        return
    known = (values >= 0) & (values <= num_experts)
    if not np.all(known | (values[..., :1] == FREE)):
        raise ValueError(
            f"Expected `expert_indices` from 0 to {num_experts - 1}, "
            f"{num_experts} for nowhere, or {FREE} throughout for a token "
            "that chooses freely. "
            f"Received: {values.min()} to {values.max()}. Replay them in a "
            "model with as many experts as the recorded one."
        )


def _fits(received, expected):
    if not received or received[-1] not in (None, expected[-1]):
        return False
    if len(received) == len(expected):
        pairs = zip(received, expected, strict=True)
        return all(None in pair or pair[0] == pair[1] for pair in pairs)
    known = None not in (*received, *expected)
    return not known or math.prod(received) == math.prod(expected)
