"""Rows sorted by expert: no buffers, no empty slots."""

from keras import ops

from keras_moe.ops.permute import combine_rows
from keras_moe.ops.permute import gather_rows
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32


def carry_sorted(tokens, plan, experts, num_pairs=None):
    """Sort the (token, choice) pairs by expert: R = T * K rows.

    Pairs that go nowhere sort behind the last expert, where the grouped
    product neither computes nor reads them.

    Args:
        tokens: float tensor of shape (G, S, H).
        plan: `TokenChoice`.
        experts: `keras_moe.experts.ExpertBank`.
        num_pairs: optional int, how many pairs go to an expert, where that is
            known before anything runs. There are no rows for the others then.

    Returns:
        Tensor of shape (G, S, H); 0 for tokens that no expert saw.
    """
    num_experts, hidden_dim = experts.num_experts, tokens.shape[-1]
    top_k = plan.expert_indices.shape[-1]
    indices = ops.reshape(plan.expert_indices, (-1,))  # (G, S, K) -> (R,)
    order = stable_argsort(indices, num_experts)
    inverse = ops.reshape(invert_permutation(order), (-1, top_k))  # (T, K)
    if num_pairs is not None:
        # All pairs that go nowhere share the first row behind the others.
        order = order[: num_pairs + 1]
        inverse = ops.minimum(inverse, int32(num_pairs))
    rows = gather_rows(
        ops.reshape(tokens, (-1, hidden_dim)), order, inverse
    )  # (T, H) -> (R, H)
    rows = experts(rows, _group_sizes(plan, indices, num_experts))
    weights = ops.reshape(plan.combine_weights, (-1, top_k))
    outputs = combine_rows(rows, weights, order, inverse)
    return ops.reshape(outputs, (*ops.shape(tokens)[:-1], rows.shape[-1]))


def _group_sizes(plan, indices, num_experts):
    nothing_dropped = plan.slots is None
    if nothing_dropped and plan.tokens_per_expert is not None:
        return int32(ops.sum(plan.tokens_per_expert, axis=0))
    return count(indices, num_experts)
