"""Every expert sees every token: the plain formula, for small sizes."""

from keras import ops

from keras_moe.dispatch.dispatcher import Dispatcher
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.widen import int32


class DenseDispatcher(Dispatcher):
    """Sends every token to every expert and weights the rest away.

    Costs E / K times the arithmetic of the other dispatchers. It is here to
    compare against, and for banks of so few experts that nothing is saved.

    Args:
        plan: `RoutingPlan` with leading dimensions (G, S).
        assignment: `SlotAssignment` for that plan.
        num_experts: int E.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k, keep_all
    >>> plan = choose_top_k(np.array([[[0, 1], [1, 0]]], "float32"), top_k=1)
    >>> dispatcher = DenseDispatcher(plan, keep_all(plan), num_experts=2)
    >>> rows, _ = dispatcher.dispatch(np.array([[[5.0], [7.0]]], "float32"))
    >>> np.array(rows)[..., 0].tolist()
    [[5.0, 7.0], [5.0, 7.0]]
    """

    def __init__(self, plan, assignment, num_experts):
        weights = ops.cast(plan.combine_weights, "float32")
        weights = ops.where(assignment.kept, weights, 0.0)
        indices = int32(plan.expert_indices)
        chosen = ops.one_hot(indices, num_experts, dtype="float32")
        self._weights = ops.einsum("gsk,gske->gse", weights, chosen)
        self._num_experts = to_plain(num_experts)

    def dispatch(self, tokens):
        self._shape = ops.shape(tokens)
        tokens = ops.reshape(tokens, (1, -1, tokens.shape[-1]))
        return ops.repeat(tokens, self._num_experts, axis=0), None

    def combine(self, rows):
        weights = ops.reshape(self._weights, (-1, self._num_experts))
        weights = ops.transpose(weights)[..., None]  # (E, T, 1)
        # Not a product with 0: an expert not chosen may overflow, and would
        # reach the weights' gradient if the product were masked instead.
        chosen = ops.where(weights != 0.0, rows, 0)
        tokens = ops.sum(ops.multiply(weights, chosen), axis=0)
        tokens = ops.cast(tokens, rows.dtype)
        return ops.reshape(tokens, (*self._shape[:-1], rows.shape[-1]))
