"""The router that chooses at random."""

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class RandomRouter(TopKRouter):
    """Chooses K different experts at random, and weights them by their scores.

    A baseline for other routers, and for benchmarks: it computes what
    `TopKRouter` computes, but the load does not depend on the weights. It is
    random outside training as well.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        balancing: as for `Router`; `None` by default: chance balances.
        **kwargs: as for `TopKRouter`.

    Example:

    >>> import numpy as np
    >>> router = RandomRouter(4, top_k=4)
    >>> plan = router(np.ones((1, 3, 5), "float32"))
    >>> np.sort(np.array(plan.expert_indices))[0].tolist()
    [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]

    References:
        Zuo et al., 2021 (THOR), https://arxiv.org/abs/2110.04260: experts
        that are activated at random; there without weights.
    """

    source = "Zuo et al., 2021 (THOR), random activation"

    @plain_numbers
    def __init__(self, num_experts, top_k=2, *, balancing=None, **kwargs):
        super().__init__(num_experts, top_k, balancing=balancing, **kwargs)

    def selection_bias(self):
        # Not heeded: a rule that moves a bias is refused.
        return None

    def selection_logits(self, logits, padding_mask, training):
        return keras.random.uniform(
            ops.shape(logits), dtype="float32", seed=self.seed_generator
        )
