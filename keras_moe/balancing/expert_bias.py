"""DeepSeek-V3's balance without a loss, as a rule."""

import keras

from keras_moe.balancing.selection_bias import SelectionBias
from keras_moe.losses.expert_bias_update import check_bias_rule
from keras_moe.losses.expert_bias_update import missing_load
from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class ExpertBias(SelectionBias):
    """Adds a bias to the scores for the choice, and moves it by the load.

    The bias takes part in the choice, not in the weights, and no gradient
    trains it. Each optimizer step moves it as
    `keras_moe.losses.expert_bias_update` says, by the load of its whole
    batch. It is `router.expert_bias`, float32 of shape (E,), and is saved
    with the weights.

    Args:
        rate: float, by how much, in units of a score. 0 leaves the bias as
            it is, and so does freezing the router (`trainable = False`).
        rule: `"sign"`, or `"proportional"` to the missing load.
        centered: bool, whether the biases keep their sum.

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
    def __init__(self, rate=0.001, rule="sign", centered=False):
        super().__init__(rate)
        check_bias_rule(rule)
        self.rule = rule
        self.centered = centered

    def summands(self, plan, router):
        return tokens_per_expert(plan)

    def step(self, sums):
        return missing_load(sums, self.rule, self.centered)

    def get_config(self):
        return {
            **super().get_config(),
            "rule": self.rule,
            "centered": self.centered,
        }
