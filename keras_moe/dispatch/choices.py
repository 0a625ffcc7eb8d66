"""What choices may ask for besides experts, the same for all ways."""

from keras import ops

from keras_moe.ops.widen import int32


def carry_choices(way, tokens, plan, experts):
    """Carry tokens in one way, with input weights and free outputs.

    A plan without these parts costs nothing here.

    Args:
        way: function of tokens, plan and experts.
        tokens: float tensor of shape (G, S, H).
        plan: `TokenChoice`.
        experts: `keras_moe.experts.ExpertBank`, which may have fewer experts
            than the plan: the others compute nothing, and what they return
            is in `free_outputs`.

    Returns:
        Tensor of shape (G, S, H).
    """
    plan = _computed(plan, experts.num_experts)
    if plan.input_weights is None:
        outputs = way(tokens, plan, experts)
    else:
        outputs = _carry_weighted(way, tokens, plan, experts)
    if plan.free_outputs is None:
        return outputs
    return outputs + ops.cast(plan.free_outputs, outputs.dtype)


def _computed(plan, num_experts):
    """Send pairs of experts that the bank does not hold nowhere."""
    counts = plan.tokens_per_expert
    if counts is None or counts.shape[-1] == num_experts:
        return plan
    indices = ops.minimum(int32(plan.expert_indices), int32(num_experts))
    return plan._replace(
        expert_indices=indices, tokens_per_expert=counts[..., :num_experts]
    )


def _carry_weighted(way, tokens, plan, experts):
    """Carry each pair as a token of its own: (G, S, H) -> (G, S * K, H)."""
    num_groups, group_size, hidden_dim = ops.shape(tokens)
    top_k = plan.expert_indices.shape[-1]
    weighted = tokens[:, :, None] * ops.cast(
        plan.input_weights[..., None], tokens.dtype
    )
    pairs = {
        name: ops.reshape(part, (num_groups, group_size * top_k, 1))
        for name in ("expert_indices", "combine_weights", "slots")
        if (part := getattr(plan, name)) is not None
    }
    weighted = ops.reshape(weighted, (num_groups, -1, hidden_dim))
    outputs = way(weighted, plan._replace(**pairs), experts)
    outputs = ops.reshape(outputs, (num_groups, group_size, top_k, -1))
    return ops.sum(outputs, axis=2)
