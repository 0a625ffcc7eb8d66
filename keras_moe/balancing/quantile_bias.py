"""Balance without a loss, by quantiles of the scores, as a rule."""

import keras
from keras import ops

from keras_moe.balancing.selection_bias import SelectionBias
from keras_moe.losses.quantile_bias_update import quantile_bias_update
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class QuantileBias(SelectionBias):
    """Moves the bias to where the last batch would have been balanced.

    Each optimizer step moves it as `keras_moe.losses.quantile_bias_update`
    says: at once, where `ExpertBias` needs many steps. The quantiles of a
    batch are not the mean of those of its parts, so with micro-batches or
    replicas the step is the mean of theirs. Groups of experts have no part
    in a token's price. Use no balancing loss besides.

    Args:
        rate: float, which part of the way the bias moves. 0 leaves the bias
            as it is, and so does freezing the router (`trainable = False`).

    Example: three tokens, of which two choose expert 0.

    >>> import numpy as np
    >>> from keras_moe.layers import TopKRouter
    >>> router = TopKRouter(
    ...     3, 1, balancing=QuantileBias(), kernel_initializer="identity")
    >>> probs = [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]
    >>> plan = router(np.log(np.array(probs, "float32")), training=True)
    >>> bias = np.array(router.expert_bias, "float64")
    >>> bias.round(3).tolist()  # the prices are 0.3, 0.3 and 0.2
    [-0.2, 0.0, 0.1]

    References:
        Sun, 2025, https://arxiv.org/abs/2502.15451.
    """

    source = "Sun, 2025 (BIP-based balancing); Megatron-LM, quantile balancing"

    @plain_numbers
    def __init__(self, rate=1.0):
        super().__init__(rate)

    def num_sums(self, num_experts):
        return num_experts + 1

    def summands(self, plan, router):
        step = quantile_bias_update(plan, router.expert_bias)
        # A batch without a real token has no say.
        has_token = ops.any(ops.cast(plan.scores.padding_mask, "bool"))
        has_token = ops.cast(has_token, "float32")
        return ops.concatenate([step, has_token[None]])

    def step(self, sums):
        return sums[:-1] / ops.maximum(sums[-1], 1.0)
