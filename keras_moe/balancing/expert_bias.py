"""DeepSeek-V3's balance without a loss, as a rule."""

import keras
from keras import ops

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.balancing.step_load import StepLoad
from keras_moe.losses.expert_bias_update import missing_load
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class ExpertBias(BalancingRule):
    """Adds a bias to the scores for the choice, and moves it by the load.

    The bias takes part in the choice, not in the weights, and no gradient
    trains it. Each optimizer step moves it as
    `keras_moe.losses.expert_bias_update` says, by the load of its whole
    batch. It is `router.expert_bias`, float32 of shape (E,), and is saved
    with the weights.

    Args:
        rate: float, by how much, in units of a score. 0 leaves the bias as
            it is, and so does freezing the router (`trainable = False`).

    Example: three tokens, two of them on expert 0.

    >>> import numpy as np
    >>> from keras_moe.layers import TopKRouter
    >>> router = TopKRouter(
    ...     3, 1, balancing=ExpertBias(0.5), kernel_initializer="identity")
    >>> tokens = np.array([[3, 0, 0], [2, 0, 0], [0, 1, 0]], "float32")
    >>> plan = router(tokens, training=True)
    >>> np.array(router.expert_bias).tolist()
    [-0.5, 0.0, 0.5]

    References:
        Wang et al., 2024, https://arxiv.org/abs/2408.15664, algorithm 1.
        DeepSeek-AI, 2024, https://arxiv.org/abs/2412.19437, section 2.1.2.
    """

    source = "Wang et al., 2024, algorithm 1"

    @plain_numbers
    def __init__(self, rate=0.001):
        check_not_negative(rate=rate)
        self.rate = rate

    def build(self, router):
        router.expert_bias = router.add_weight(
            name="expert_bias",
            shape=(router.num_experts,),
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        router.step_load = StepLoad(router.num_experts, name="step_load")
        router.step_load.build()

    def selection_bias(self, router):
        return router.expert_bias

    def update(self, plan, router):
        if not (self.rate and router.trainable):
            return
        load, is_last = router.step_load(plan)
        step = self.rate * missing_load(load)
        router.expert_bias.assign_add(ops.where(is_last, step, 0.0))

    def get_config(self):
        return {"rate": self.rate}
