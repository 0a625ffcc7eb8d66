"""The z-loss of ST-MoE as a rule."""

import keras

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.losses.router_z import router_z_loss
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class RouterZLoss(BalancingRule):
    """Adds `weight * keras_moe.losses.router_z_loss(plan)`.

    Args:
        weight: float, per nats squared; 0 turns the loss off.

    Example:

    >>> RouterZLoss(weight=0.0001).weight
    0.0001

    References:
        Zoph et al., 2022, https://arxiv.org/abs/2202.08906, equation 5.
    """

    @plain_numbers
    def __init__(self, weight=0.001):
        check_not_negative(weight=weight)
        self.weight = weight

    def __call__(self, plan):
        return self.weight * router_z_loss(plan) if self.weight else None

    def get_config(self):
        return {"weight": self.weight}
