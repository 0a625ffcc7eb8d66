"""Who gets a slot when an expert has fewer slots than candidates."""

import keras
from keras import ops

from keras_moe.ops.padding import zero_padding
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32
from keras_moe.routing.plans import count_tokens
from keras_moe.routing.plans import keep_pairs

PRIORITIES = ("position", "score", "pair_score", "random")
ORDERS = ("choice", "token")
# Those in which a token of a later position never comes first.
CAUSAL_PRIORITIES = ("position",)


def assign_slots(
    plan, num_experts, capacity, priority="position", order="choice", seed=None
):
    """Give each expert's slots to its candidates in order of priority.

    With the order `"choice"`, all first choices come before any second choice
    (GShard, https://arxiv.org/abs/2006.16668, algorithm 1); with `"token"`, a
    token's choices come together. Within that, the priority says who comes
    first:

    - `"position"`: earlier tokens.
    - `"score"`: tokens with the larger best probability (batch-prioritized
      routing, V-MoE, https://arxiv.org/abs/2106.05974, section 2.4).
    - `"pair_score"`: pairs with the larger probability of the expert; in the
      order `"token"`, whichever choice it is.
    - `"random"`: tokens drawn by lot (random token selection of DeepSpeed,
      https://arxiv.org/abs/2109.10465).

    By a score, later tokens can take an earlier token's slot: not for
    decoders. Padding tokens take no slot.

    Args:
        plan: `TokenChoice` with leading dimensions (G, S); others are
            understood as `grouped_shape` says.
        num_experts: int E.
        capacity: C, slots per expert per group.
        priority: `"position"`, `"score"`, `"pair_score"` or `"random"`.
        order: `"choice"` or `"token"`.
        seed: int or `keras.random.SeedGenerator`, for `"random"`.

    Returns:
        `TokenChoice` with `slots`, `capacity` and `tokens_per_expert`, in
        which the pairs that found no slot go nowhere.

    Raises:
        ValueError: If `priority` or `order` is unknown, or the priority is a
            score for a router without scores.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 3, 4), "float32"), top_k=1)
    >>> plan = assign_slots(plan, num_experts=4, capacity=2)
    >>> np.array(plan.expert_indices)[0, :, 0].tolist()  # all want expert 0
    [0, 0, 4]
    """
    check_priority(priority)
    check_order(order)
    num_groups, group_size, top_k = grouped_shape(plan.expert_indices)
    shape = (num_groups, group_size, top_k)
    num_experts, capacity = to_plain(num_experts), to_plain(capacity)
    if plan.tokens_per_expert is None:
        plan = count_tokens(plan, num_experts)
    queues = ops.reshape(int32(plan.expert_indices), shape)
    queues = _to_queues(queues, order)  # (G, Q, N)
    merits = _merits(plan, shape, priority, seed)
    if merits is not None:
        if order == "token":
            merits = ops.broadcast_to(merits, shape)
        ranking = stable_argsort(-_to_queues(merits, order))
        ranking = ops.broadcast_to(ranking, ops.shape(queues))
        queues = ops.take_along_axis(queues, ranking, axis=2)
    # Of a plan that has slots, they count what was dropped as well.
    counted = plan if plan.slots is None else count_tokens(plan, num_experts)
    counts = ops.reshape(counted.tokens_per_expert, (num_groups, num_experts))
    candidates = ops.reshape(queues, (num_groups, group_size * top_k))
    slots = ops.reshape(_slots(candidates, counts), ops.shape(queues))
    if merits is not None:
        places = invert_permutation(ranking)
        slots = ops.take_along_axis(slots, places, axis=2)
    slots = _from_queues(slots, shape, order)
    slots = ops.reshape(slots, ops.shape(plan.expert_indices))
    plan = plan._replace(slots=slots, capacity=capacity)
    return keep_pairs(plan, slots < capacity, num_experts)


def _slots(candidates, counts):
    """Number the candidates (G, R) of each expert, given how many it has."""
    num_experts = counts.shape[-1]
    order = stable_argsort(candidates, num_experts)
    sorted_experts = ops.take_along_axis(candidates, order, axis=1)
    rank = ops.arange(ops.shape(candidates)[1], dtype="int32")
    # (G, E) -> (G, E + 1): who goes nowhere comes last.
    ends = ops.cumsum(counts, axis=1, dtype="int32")
    starts = ops.concatenate([ops.zeros_like(ends[:, :1]), ends], axis=1)
    slots = rank - ops.take_along_axis(starts, sorted_experts, axis=1)
    return ops.take_along_axis(slots, invert_permutation(order), axis=1)


def _to_queues(values, order):
    """Reshape (G, S, X) to queues (G, Q, N) that are served one by one."""
    if order == "choice":
        return ops.transpose(values, (0, 2, 1))
    return ops.reshape(values, (ops.shape(values)[0], 1, -1))


def _from_queues(values, shape, order):
    if order == "choice":
        return ops.transpose(values, (0, 2, 1))
    return ops.reshape(values, shape)


def _merits(plan, shape, priority, seed):
    """Return what ranks the pairs, (G, S, K), or (G, S, 1) of tokens."""
    if priority == "position":
        return None
    if priority == "random":
        return keras.random.uniform((*shape[:2], 1), dtype="float32", seed=seed)
    if plan.scores is None:
        raise ValueError(
            f"Expected a router with scores for `priority={priority!r}`. "
            "Received: a plan without. Use `priority='position'`."
        )
    probs = zero_padding(plan.scores.probs, plan.scores.padding_mask)
    if priority == "score":
        return ops.reshape(ops.amax(probs, axis=-1), (*shape[:2], 1))
    indices = ops.minimum(int32(plan.expert_indices), probs.shape[-1] - 1)
    return ops.reshape(ops.take_along_axis(probs, indices, axis=-1), shape)


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


def check_order(order):
    """Raise if `order` is not a known order of choices and tokens.

    Args:
        order: the name to check.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_order("choice")
    """
    if order not in ORDERS:
        raise ValueError(
            f"Expected `order` to be one of {list(ORDERS)}. "
            f"Received: order={order!r}"
        )
