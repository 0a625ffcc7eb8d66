"""Every expert sees every token: the plain formula, for small sizes."""

from keras import ops

from keras_moe.ops.widen import int32


def carry_dense(tokens, plan, experts):
    """Send every token to every expert and weight the rest away.

    Costs E / K times the arithmetic of the other strategies. It is here to
    compare against, and for banks of so few experts that nothing is saved.

    Args:
        tokens: float tensor of shape (G, S, H).
        plan: `TokenChoice`.
        experts: `keras_moe.experts.ExpertBank`.

    Returns:
        Tensor of shape (G, S, H); 0 for tokens that no expert saw.
    """
    num_experts, hidden_dim = experts.num_experts, tokens.shape[-1]
    # Nowhere is one past the last expert, which `ops.one_hot` does not take.
    chosen = ops.equal(
        int32(plan.expert_indices)[..., None],
        ops.arange(num_experts, dtype="int32"),
    )  # (G, S, K) -> (G, S, K, E)
    weights = ops.einsum(
        "gsk,gske->gse",
        ops.cast(plan.combine_weights, "float32"),
        ops.cast(chosen, "float32"),
    )
    weights = ops.transpose(ops.reshape(weights, (-1, num_experts)))
    weights = weights[..., None]  # (E, T, 1)
    rows = ops.reshape(tokens, (1, -1, hidden_dim))
    rows = experts(ops.repeat(rows, num_experts, axis=0))  # (E, T, H)
    # Not a product with 0: an expert that was not chosen may overflow, and
    # would reach the weights' gradient if the product were masked instead.
    rows = ops.where(weights != 0.0, rows, 0)
    outputs = ops.sum(ops.multiply(weights, rows), axis=0)
    outputs = ops.cast(outputs, rows.dtype)
    return ops.reshape(outputs, (*ops.shape(tokens)[:-1], rows.shape[-1]))
