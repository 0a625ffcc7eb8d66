"""Tokens that experts chose: every expert has a buffer, all of it in use."""

from keras import ops

from keras_moe.dispatch.buffers import through_experts
from keras_moe.ops.widen import int32


def carry_chosen_tokens(tokens, plan, experts):
    """Copy each expert's tokens to its buffer, and add up what comes back.

    Args:
        tokens: float tensor of shape (G, S, H).
        plan: `ExpertChoice`.
        experts: `keras_moe.experts.ExpertBank`.

    Returns:
        Tensor of shape (G, S, H); 0 for tokens that no expert saw.
    """
    num_groups, group_size, hidden_dim = ops.shape(tokens)
    shape = ops.shape(plan.token_indices)  # (G, E, C)
    indices = ops.reshape(int32(plan.token_indices), (num_groups, -1))
    chosen = (indices < int32(group_size))[..., None]  # (G, E * C, 1)
    indices = ops.minimum(indices, int32(group_size - 1))
    buffers = ops.take_along_axis(tokens, indices[..., None], axis=1)
    buffers = ops.where(chosen, buffers, 0)
    buffers = through_experts(
        ops.reshape(buffers, (*shape, hidden_dim)), experts
    )
    rows = ops.reshape(buffers, (num_groups, -1, buffers.shape[-1]))
    weights = ops.reshape(plan.combine_weights, (num_groups, -1, 1))
    # (G, E * C, H) -> (G, S, H): nowhere adds 0 to the last token.
    weighted = ops.where(chosen, ops.multiply(weights, rows), 0.0)
    offset = int32(group_size) * ops.arange(num_groups, dtype="int32")
    outputs = ops.segment_sum(
        ops.reshape(weighted, (-1, rows.shape[-1])),
        ops.reshape(indices + offset[:, None], (-1,)),
        num_segments=num_groups * group_size,
    )
    outputs = ops.reshape(outputs, (num_groups, group_size, rows.shape[-1]))
    return ops.cast(outputs, rows.dtype)
