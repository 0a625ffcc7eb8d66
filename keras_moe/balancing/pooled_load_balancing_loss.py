"""The load-balancing loss of transformers as a rule."""

import keras

from keras_moe.balancing.loss_rule import check_scope
from keras_moe.balancing.loss_rule import config_of_scope
from keras_moe.balancing.pooled_rule import PooledRule
from keras_moe.losses.pooled_load_balancing import balance_of_sums
from keras_moe.losses.pooled_load_balancing import sums_of_tokens
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class PooledLoadBalancingLoss(PooledRule):
    """Adds `weight * keras_moe.losses.pooled_load_balancing_loss(plans)`.

    That is the loss of transformers, over the tokens of all layers at once,
    which published coefficients (`router_aux_loss_coef`) mean. All sparse
    layers of a backbone are pooled. In a model of your own, give all routers
    the same object. The loss is no sum over batches: accumulated gradients
    are those of each micro-batch's loss.

    Args:
        weight: float; 0 turns the loss off.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens, one layer of K = 1.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]], "float32")
    >>> rule = PooledLoadBalancingLoss(weight=0.02)
    >>> round(float(rule(choose_top_k(logits, top_k=1))), 4)  # balanced: K
    0.02

    References:
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, equations 4 to 6.
        `load_balancing_loss_func` of Mixtral in transformers.
    """

    source = "transformers, load_balancing_loss_func (Mixtral)"
    evens_load = True

    @plain_numbers
    def __init__(self, weight=0.001, *, scope="batch"):
        super().__init__()
        check_not_negative(weight=weight)
        check_scope(scope)
        self.scope = scope
        self.weight = weight

    def parts(self, plan):
        return sums_of_tokens(plan)

    def loss_of(self, *parts):
        return self.weight * balance_of_sums(*parts)

    def __call__(self, plan):
        return super().__call__(plan) if self.weight else None

    def add_loss(self, plan, router):
        if self.weight:
            super().add_loss(plan, router)

    def get_config(self):
        return {"weight": self.weight, **config_of_scope(self.scope)}
