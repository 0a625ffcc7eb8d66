"""Static slots: every expert has a buffer of the same height."""

from keras import ops

from keras_moe.dispatch.buffers import through_experts
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32


def carry_slots(tokens, plan, experts):
    """Put each group's tokens into E buffers of C slots.

    Everything happens group by group (sort, gather along the axis), which a
    partitioner turns into all-to-alls when groups and experts are on
    different devices. Empty slots hold zeros.

    Args:
        tokens: float tensor of shape (G, S, H).
        plan: `TokenChoice` with slots.
        experts: `keras_moe.experts.ExpertBank`.

    Returns:
        Tensor of shape (G, S, H); 0 for tokens that no expert saw.

    Raises:
        ValueError: If the plan has no slots (dropless routing).
    """
    if plan.slots is None:
        raise ValueError(
            "Expected a plan with a capacity for `strategy='slots'`. Received: "
            "a dropless one. Give the router a `capacity=Capacity(...)` with "
            "`eval_factor` for inference, or use `strategy='sorted'`."
        )
    num_experts = experts.num_experts
    kept = int32(plan.expert_indices) < num_experts
    slot = int32(plan.expert_indices) * plan.capacity + plan.slots
    slot = ops.where(kept, slot, num_experts * plan.capacity)  # (G, S, K)
    buffers = _fill(tokens, slot, num_experts, plan.capacity)
    return _empty(through_experts(buffers, experts), slot, kept, plan)


def _fill(tokens, slot, num_experts, capacity):
    """Copy tokens (G, S, H) to buffers (G, E, C, H)."""
    num_groups, group_size, hidden_dim = ops.shape(tokens)
    top_k = slot.shape[-1]
    slot = ops.reshape(slot, (num_groups, group_size * top_k))
    source, filled = _sources(slot, num_experts, capacity)
    rows = ops.take_along_axis(
        tokens, (source // top_k)[..., None], axis=1
    )  # (G, S, H) -> (G, E * C, H)
    rows = ops.where(filled[..., None], rows, 0)
    return ops.reshape(rows, (num_groups, num_experts, capacity, hidden_dim))


def _sources(slot, num_experts, capacity):
    """Find which pair fills each slot, and whether one does."""
    num_groups = ops.shape(slot)[0]
    # Filled slots sort to the front, expert by expert without gaps.
    order = stable_argsort(slot, num_experts * capacity)
    filled_slots = count(slot // capacity, num_experts)  # (G, E)
    starts = ops.cumsum(filled_slots, axis=1, dtype="int32") - filled_slots
    position = ops.arange(capacity, dtype="int32")
    rank = starts[..., None] + position  # (G, E, C)
    filled = position < filled_slots[..., None]
    rank = ops.reshape(ops.where(filled, rank, 0), (num_groups, -1))
    source = ops.take_along_axis(order, rank, axis=1)
    return source, ops.reshape(filled, (num_groups, -1))


def _empty(buffers, slot, kept, plan):
    """Add up each token's rows of the buffers (G, E, C, H), weighted."""
    num_groups, _, top_k = ops.shape(slot)
    num_experts, hidden_dim = buffers.shape[1], buffers.shape[-1]
    num_slots = num_experts * plan.capacity
    rows = ops.reshape(buffers, (num_groups, num_slots, hidden_dim))
    slot = ops.minimum(slot, int32(num_slots - 1))
    outputs = 0.0
    for choice in range(top_k):
        chosen = ops.take_along_axis(
            rows, slot[..., choice, None], axis=1
        )  # (G, E * C, H) -> (G, S, H)
        # Not a product with 0: the slot may hold a neighbour's NaN.
        weights = plan.combine_weights[..., choice, None]
        weighted = ops.multiply(weights, chosen)
        outputs = outputs + ops.where(kept[..., choice, None], weighted, 0.0)
    return ops.cast(outputs, rows.dtype)
