"""The z-loss of ST-MoE as a rule."""

import keras

from keras_moe.balancing.loss_rule import LossRule
from keras_moe.losses.router_z import router_z_loss
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class RouterZLoss(LossRule):
    """Adds `weight * keras_moe.losses.router_z_loss(plan)`.

    A mean over tokens: accumulated gradients equal the whole batch's, if each
    micro-batch has equally many real tokens.

    Args:
        weight: float, per nats squared; 0 turns the loss off.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens whose logits are all 0.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    >>> round(float(RouterZLoss(weight=0.1)(plan)), 4)  # log(4) ** 2 / 10
    0.1922

    References:
        Zoph et al., 2022, https://arxiv.org/abs/2202.08906, equation 5.
    """

    source = "Zoph et al., 2022, equation 5"

    @plain_numbers
    def __init__(self, weight=0.001, *, scope="batch"):
        super().__init__(weight, scope)

    def loss(self, plan):
        return router_z_loss(plan)
