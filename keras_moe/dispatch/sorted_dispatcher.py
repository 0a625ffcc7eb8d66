"""Rows sorted by expert: no buffers, no empty slots."""

from keras import ops

from keras_moe.dispatch.dispatcher import Dispatcher
from keras_moe.ops.permute import combine_rows
from keras_moe.ops.permute import gather_rows
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32


class SortedDispatcher(Dispatcher):
    """Sorts the (token, choice) pairs by expert: R = T * K rows.

    Pairs that are not kept (padding, dropped) sort behind the last expert,
    where the grouped product neither computes nor reads them.

    Args:
        plan: `RoutingPlan` with leading dimensions (G, S).
        assignment: `SlotAssignment` for that plan.
        num_experts: int E.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k, keep_all
    >>> plan = choose_top_k(np.array([[[0, 1], [1, 0]]], "float32"), top_k=1)
    >>> dispatcher = SortedDispatcher(plan, keep_all(plan), num_experts=2)
    >>> tokens = np.array([[[5.0], [7.0]]], "float32")
    >>> rows, group_sizes = dispatcher.dispatch(tokens)
    >>> np.array(rows).ravel().tolist(), np.array(group_sizes).tolist()
    ([7.0, 5.0], [1, 1])
    """

    def __init__(self, plan, assignment, num_experts):
        self._weights = plan.combine_weights
        self._top_k = plan.expert_indices.shape[-1]
        num_experts = to_plain(num_experts)
        experts = ops.where(
            assignment.kept, int32(plan.expert_indices), num_experts
        )
        experts = ops.reshape(experts, (-1,))  # (G, S, K) -> (R,)
        self._group_sizes = count(experts, num_experts)
        self._order = stable_argsort(experts, num_experts)
        self._inverse = ops.reshape(
            invert_permutation(self._order), (-1, self._top_k)
        )  # (R,) -> (T, K)

    def dispatch(self, tokens):
        self._shape = ops.shape(tokens)
        tokens = ops.reshape(tokens, (-1, tokens.shape[-1]))
        rows = gather_rows(tokens, self._order, self._inverse)
        return rows, self._group_sizes

    def combine(self, rows):
        weights = ops.reshape(self._weights, (-1, self._top_k))
        tokens = combine_rows(rows, weights, self._order, self._inverse)
        return ops.reshape(tokens, (*self._shape[:-1], rows.shape[-1]))
