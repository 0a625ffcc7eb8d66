"""Who gets a slot when an expert has fewer slots than candidates."""

from keras import ops

from keras_moe.ops.padding import zero_padding
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32
from keras_moe.routing.plans import count_tokens
from keras_moe.routing.plans import keep_pairs

PRIORITIES = ("position", "score")


def assign_slots(plan, num_experts, capacity, priority="position"):
    """Give each expert's slots to its candidates in order of priority.

    All first choices come before any second choice (GShard,
    https://arxiv.org/abs/2006.16668, algorithm 1). Within a choice, earlier
    tokens come first (`"position"`), or tokens with the larger best
    probability (`"score"`, batch-prioritized routing, V-MoE,
    https://arxiv.org/abs/2106.05974, section 2.4; not causal, so not for
    decoders). Padding tokens take no slot.

    Args:
        plan: `TokenChoice` with leading dimensions (G, S); others are
            understood as `grouped_shape` says.
        num_experts: int E.
        capacity: C, slots per expert per group.
        priority: `"position"` or `"score"`.

    Returns:
        `TokenChoice` with `slots`, `capacity` and `tokens_per_expert`, in
        which the pairs that found no slot go nowhere.

    Raises:
        ValueError: If `priority` is unknown, or `"score"` for a router
            without scores.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 3, 4), "float32"), top_k=1)
    >>> plan = assign_slots(plan, num_experts=4, capacity=2)
    >>> np.array(plan.expert_indices)[0, :, 0].tolist()  # all want expert 0
    [0, 0, 4]
    """
    check_priority(priority)
    num_groups, group_size, top_k = grouped_shape(plan.expert_indices)
    pairs = group_size * top_k

    num_experts, capacity = to_plain(num_experts), to_plain(capacity)
    if plan.tokens_per_expert is None:
        plan = count_tokens(plan, num_experts)
    candidates = ops.reshape(
        int32(plan.expert_indices), (num_groups, group_size, top_k)
    )
    if priority == "score":
        best = ops.reshape(_best_probs(plan), (num_groups, group_size))
        ranking = stable_argsort(-best)  # (G, S)
        candidates = ops.take_along_axis(candidates, ranking[..., None], axis=1)
    # (G, S, K) -> (G, K, S) -> (G, K * S): first choices first.
    candidates = ops.reshape(
        ops.transpose(candidates, (0, 2, 1)), (num_groups, pairs)
    )
    order = stable_argsort(candidates, num_experts)
    sorted_experts = ops.take_along_axis(candidates, order, axis=1)
    rank = ops.broadcast_to(
        ops.arange(pairs, dtype="int32")[None, :], (num_groups, pairs)
    )
    counts = count(candidates, num_experts + 1)  # (G, E + 1), last: nowhere
    starts = ops.cumsum(counts, axis=1, dtype="int32") - counts
    slots = rank - ops.take_along_axis(starts, sorted_experts, axis=1)
    slots = ops.take_along_axis(slots, invert_permutation(order), axis=1)
    # (G, K * S) -> (G, K, S) -> (G, S, K)
    slots = ops.reshape(slots, (num_groups, top_k, group_size))
    slots = ops.transpose(slots, (0, 2, 1))
    if priority == "score":
        slots = ops.take_along_axis(
            slots, invert_permutation(ranking)[..., None], axis=1
        )
    slots = ops.reshape(slots, ops.shape(plan.expert_indices))
    plan = plan._replace(slots=slots, capacity=capacity)
    return keep_pairs(plan, slots < capacity, num_experts)


def grouped_shape(expert_indices):
    """Return the number of groups, of tokens in each, and of choices.

    As in a sparse layer: a row of the batch is a group, and inputs of rank 2
    are a single one.

    Args:
        expert_indices: int32 tensor of shape (..., K), rank 2 or more.

    Returns:
        (G, S, K) as ints, or scalar tensors where unknown while tracing.

    Example:

    >>> import numpy as np
    >>> grouped_shape(np.zeros((5, 2))), grouped_shape(np.zeros((3, 4, 5, 2)))
    ((1, 5, 2), (3, 20, 2))
    """
    *leading, top_k = ops.shape(expert_indices)
    if len(leading) == 1:
        return 1, leading[0], top_k
    num_groups, group_size, *more = leading
    for size in more:
        group_size = group_size * size
    return num_groups, group_size, top_k


def _best_probs(plan):
    if plan.scores is None:
        raise ValueError(
            "Expected a router with scores for `priority='score'`. Received: "
            "a plan without. Use `priority='position'`."
        )
    probs = zero_padding(plan.scores.probs, plan.scores.padding_mask)
    return ops.amax(probs, axis=-1)


def check_priority(priority):
    """Raise if `priority` is not a known drop order.

    Args:
        priority: the name to check.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_priority("position")
    """
    if priority not in PRIORITIES:
        raise ValueError(
            f"Expected `priority` to be one of {list(PRIORITIES)}. "
            f"Received: priority={priority!r}"
        )
