"""The auxiliary loss of GShard and Switch as a rule."""

import keras

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.losses.load_balancing import load_balancing_loss
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class LoadBalancingLoss(BalancingRule):
    """Adds `weight * keras_moe.losses.load_balancing_loss(plan)`.

    Args:
        weight: float; 0 turns the loss off.

    Example:

    >>> LoadBalancingLoss(weight=0.02).weight
    0.02

    References:
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, equations 4 to 6.
    """

    @plain_numbers
    def __init__(self, weight=0.01):
        check_not_negative(weight=weight)
        self.weight = weight

    def __call__(self, plan):
        return self.weight * load_balancing_loss(plan) if self.weight else None

    def get_config(self):
        return {"weight": self.weight}
