"""Soft slots: experts see averages of tokens, tokens averages of outputs."""

from keras import ops

from keras_moe.dispatch.buffers import through_experts


def carry_soft_slots(tokens, plan, experts):
    """Average tokens into slots, and the slots' outputs into tokens.

    Args:
        tokens: float tensor of shape (G, S, H).
        plan: `SoftSlots`.
        experts: `keras_moe.experts.ExpertBank`.

    Returns:
        Tensor of shape (G, S, H); 0 for padding.

    References:
        Puigcerver et al., 2023, https://arxiv.org/abs/2308.00951, equations 1
        and 2.
    """
    dispatch = ops.cast(plan.dispatch_weights, tokens.dtype)
    buffers = ops.einsum("gsep,gsh->geph", dispatch, tokens)
    buffers = through_experts(buffers, experts)
    combine = ops.cast(plan.combine_weights, buffers.dtype)
    return ops.einsum("gsep,geph->gsh", combine, buffers)
