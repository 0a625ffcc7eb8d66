"""The router that forces a balanced load."""

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class BalancedRouter(TopKRouter):
    """Deals the experts out in turn, and weights them by their scores.

    For benchmarks: it computes what `TopKRouter` computes, and the real
    tokens' pairs differ by at most one from expert to expert. Real token t of
    the batch goes to the experts `t * K, ..., t * K + K - 1`, modulo E.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        balancing: as for `Router`; `None` by default: there is nothing to do.
        **kwargs: as for `TopKRouter`.

    Example:

    >>> import numpy as np
    >>> router = BalancedRouter(4, top_k=2)
    >>> plan = router(np.ones((1, 3, 5), "float32"))
    >>> np.array(plan.expert_indices)[0].tolist()
    [[0, 1], [2, 3], [0, 1]]

    References:
        The forced balance of torchtitan and Megatron, which is there to
        measure speed.
    """

    source = "torchtitan and Megatron, forced balance for benchmarks"

    @plain_numbers
    def __init__(self, num_experts, top_k=2, *, balancing=None, **kwargs):
        super().__init__(num_experts, top_k, balancing=balancing, **kwargs)

    def selection_bias(self):
        # Not heeded: a rule that moves a bias is refused.
        return None

    def selection_logits(self, logits, padding_mask, training):
        shape = ops.shape(logits)[:-1]
        if padding_mask is None:
            padding_mask = ops.ones(shape, dtype="bool")
        real = ops.reshape(ops.cast(padding_mask, "int32"), (-1,))
        token = ops.cumsum(real, dtype="int32") - real
        first = ops.mod(token, self.num_experts) * self.top_k
        first = ops.reshape(first, (*shape, 1))
        experts = ops.arange(self.num_experts, dtype="int32")
        turn = ops.mod(experts - first, self.num_experts)  # (..., E)
        return -ops.cast(turn, "float32")
