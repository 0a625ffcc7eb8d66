"""Static slots: every expert has a buffer of the same height."""

from keras import ops

from keras_moe.dispatch.dispatcher import Dispatcher
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32


class CapacityDispatcher(Dispatcher):
    """Puts each group's tokens into E buffers of C slots.

    Everything happens group by group (sort, gather along the axis), which a
    partitioner turns into all-to-alls when groups and experts lie on
    different devices. Empty slots hold zeros.

    Args:
        plan: `RoutingPlan` with leading dimensions (G, S).
        assignment: `SlotAssignment` for that plan, with slots.
        num_experts: int E.

    Raises:
        ValueError: If the assignment has no slots (dropless routing).

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import assign_slots, choose_top_k
    >>> plan = choose_top_k(np.array([[[0, 1], [1, 0]]], "float32"), top_k=1)
    >>> assignment = assign_slots(plan, num_experts=2, capacity=2)
    >>> dispatcher = CapacityDispatcher(plan, assignment, num_experts=2)
    >>> rows, _ = dispatcher.dispatch(np.array([[[5.0], [7.0]]], "float32"))
    >>> np.array(rows)[..., 0].tolist()  # two experts, two slots each
    [[7.0, 0.0], [5.0, 0.0]]
    """

    def __init__(self, plan, assignment, num_experts):
        if assignment.slots is None:
            raise ValueError(
                "Expected a slot assignment with a capacity for "
                "`dispatcher='capacity'`. Received: a dropless one. Set "
                "`capacity_factor` (and `eval_capacity_factor`), or use "
                "`dispatcher='sorted'`."
            )
        self._kept = assignment.kept
        self._weights = ops.where(self._kept, plan.combine_weights, 0.0)
        self._num_experts = to_plain(num_experts)
        self._capacity = to_plain(assignment.capacity)
        num_slots = self._num_experts * self._capacity
        slot = int32(plan.expert_indices) * self._capacity + assignment.slots
        self._slot = ops.where(self._kept, slot, num_slots)  # (G, S, K)

    def dispatch(self, tokens):
        num_groups, group_size, hidden_dim = ops.shape(tokens)
        top_k = self._slot.shape[-1]
        num_slots = self._num_experts * self._capacity
        source, filled = self._sources(num_groups, group_size * top_k)
        slots = ops.take_along_axis(
            tokens, (source // top_k)[..., None], axis=1
        )  # (G, S, H) -> (G, E * C, H)
        slots = ops.where(filled[..., None], slots, 0)
        slots = ops.reshape(
            slots,
            (num_groups, self._num_experts, self._capacity, hidden_dim),
        )
        self._shape = num_groups, num_slots
        slots = ops.transpose(slots, (1, 0, 2, 3))
        return ops.reshape(slots, (self._num_experts, -1, hidden_dim)), None

    def combine(self, rows):
        num_groups, num_slots = self._shape
        hidden_dim = rows.shape[-1]
        rows = ops.reshape(
            rows, (self._num_experts, num_groups, self._capacity, hidden_dim)
        )
        rows = ops.reshape(
            ops.transpose(rows, (1, 0, 2, 3)),
            (num_groups, num_slots, hidden_dim),
        )
        slot = ops.minimum(self._slot, int32(num_slots - 1))
        outputs = 0.0
        for choice in range(self._slot.shape[-1]):
            chosen = ops.take_along_axis(
                rows, slot[..., choice, None], axis=1
            )  # (G, E * C, H) -> (G, S, H)
            # Not a product with 0: the slot may hold a neighbour's NaN.
            kept = self._kept[..., choice, None]
            weights = self._weights[..., choice, None]
            weighted = ops.multiply(weights, chosen)
            outputs = outputs + ops.where(kept, weighted, 0.0)
        return ops.cast(outputs, rows.dtype)

    def _sources(self, num_groups, num_pairs):
        """Find which pair fills each slot, and whether one does."""
        num_experts, capacity = self._num_experts, self._capacity
        slot = ops.reshape(self._slot, (num_groups, num_pairs))
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
