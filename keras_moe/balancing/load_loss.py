"""Shazeer's load loss as a rule."""

import keras

from keras_moe.balancing.loss_rule import LossRule
from keras_moe.losses.load import load_loss
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class LoadLoss(LossRule):
    """Adds `weight * keras_moe.losses.load_loss(plan)`.

    For routers with normal noise, usually together with `ImportanceLoss`.
    Not linear in the batch: accumulated gradients are those of each
    micro-batch's own variation.

    Args:
        weight: float; 0 turns the loss off.
        own_threshold: bool, whether each expert is compared with the others,
            as in Shazeer et al. `False` as in V-MoE.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens on two experts.

    >>> import numpy as np
    >>> from keras_moe.layers import TopKRouter
    >>> from keras_moe.routing import LogitNoise
    >>> router = TopKRouter(
    ...     2, 1, balancing=LoadLoss(0.1), logit_noise=LogitNoise(),
    ...     kernel_initializer="identity")
    >>> tokens = np.array([[9, 0], [9, 0], [0, 9]], "float32")
    >>> plan = router(tokens, training=True)
    >>> round(float(keras.ops.stop_gradient(router.losses[0])), 4)  # of 2 and 1
    0.0111

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, equations 8
        to 11.
        Riquelme et al., 2021, https://arxiv.org/abs/2106.05974, appendix A.
    """

    source = "Shazeer et al., 2017, equations 8 to 11"
    evens_load = True

    @plain_numbers
    def __init__(self, weight=0.01, own_threshold=True, *, scope="batch"):
        super().__init__(weight, scope)
        self.own_threshold = own_threshold

    def loss(self, plan):
        return load_loss(plan, self.own_threshold)

    def get_config(self):
        return {**super().get_config(), "own_threshold": self.own_threshold}
