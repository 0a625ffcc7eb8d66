"""Who gets a slot when an expert has fewer slots than candidates."""

from typing import Any
from typing import NamedTuple

from keras import ops

from keras_moe.ops.padding import zero_padding
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32

PRIORITIES = ("position", "score")


class SlotAssignment(NamedTuple):
    """Says which (token, choice) pairs are carried, and to which slot.

    Attributes:
        kept: bool tensor of shape (G, S, K). False for padding tokens and
            for pairs that found no slot.
        slots: int32 tensor of shape (G, S, K): 0-based position in the
            expert's buffer, at least C where dropped. `None` if dropless.
        capacity: C, slots per expert per group. `None` if dropless.
    """

    kept: Any
    slots: Any = None
    capacity: Any = None


def keep_all(plan):
    """Give every pair of a real token a place: dropless routing.

    Args:
        plan: `RoutingPlan` with leading dimensions (G, S).

    Returns:
        A `SlotAssignment` without slots.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 3, 4), "float32"), top_k=2)
    >>> np.array(keep_all(plan).kept).all().item()
    True
    """
    mask = ops.cast(plan.padding_mask, "bool")[..., None]
    return SlotAssignment(
        ops.broadcast_to(mask, ops.shape(plan.expert_indices))
    )


def assign_slots(plan, num_experts, capacity, priority="position"):
    """Give each expert's slots to its candidates in order of priority.

    All first choices come before any second choice (GShard,
    https://arxiv.org/abs/2006.16668, algorithm 1). Within a choice, earlier
    tokens come first (`"position"`), or tokens with the larger best
    probability (`"score"`, batch-prioritized routing, V-MoE,
    https://arxiv.org/abs/2106.05974, section 2.4; not causal, so not for
    decoders). Padding tokens take no slot.

    Args:
        plan: `RoutingPlan` with leading dimensions (G, S).
        num_experts: int E.
        capacity: C, slots per expert per group.
        priority: `"position"` or `"score"`.

    Returns:
        A `SlotAssignment`.

    Raises:
        ValueError: If `priority` is unknown.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((1, 3, 4), "float32"), top_k=1)
    >>> assignment = assign_slots(plan, num_experts=4, capacity=2)
    >>> np.array(assignment.kept)[0, :, 0].tolist()  # all want expert 0
    [True, True, False]
    """
    check_priority(priority)
    shape = ops.shape(plan.expert_indices)
    num_groups, group_size, top_k = shape[0], shape[1], shape[2]
    pairs = group_size * top_k

    num_experts, capacity = to_plain(num_experts), to_plain(capacity)
    mask = ops.cast(plan.padding_mask, "bool")[..., None]
    candidates = ops.where(mask, int32(plan.expert_indices), num_experts)
    if priority == "score":
        probs = zero_padding(plan.router_probs, plan.padding_mask)
        ranking = stable_argsort(-ops.amax(probs, axis=-1))  # (G, S)
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
    counts = count(candidates, num_experts + 1)  # (G, E + 1), last: padding
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
    kept = ops.logical_and(slots < capacity, mask)
    return SlotAssignment(kept, slots, capacity)


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
