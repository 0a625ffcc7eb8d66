"""Shazeer's importance loss as a rule."""

import keras

from keras_moe.balancing.loss_rule import LossRule
from keras_moe.losses.importance import check_weighting
from keras_moe.losses.importance import importance_loss
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class ImportanceLoss(LossRule):
    """Adds `weight * keras_moe.losses.importance_loss(plan)`.

    Not linear in the batch: accumulated gradients are those of each
    micro-batch's own variation.

    Args:
        weight: float; 0 turns the loss off.
        of: `"combine_weights"` as in Shazeer et al., or `"probs"` as in
            V-MoE.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens on two experts.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.1, 0.9]], "float32")
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> round(float(ImportanceLoss(0.1)(plan)), 5)  # of 1.6 and 0.9
    0.00784

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, equations 6
        and 7.
        Riquelme et al., 2021, https://arxiv.org/abs/2106.05974, appendix A.
    """

    source = "Shazeer et al., 2017, equations 6 and 7"
    evens_load = True

    @plain_numbers
    def __init__(self, weight=0.01, of="combine_weights", *, scope="batch"):
        super().__init__(weight, scope)
        check_weighting(of)
        self.of = of

    def loss(self, plan):
        return importance_loss(plan, self.of)

    def get_config(self):
        return {**super().get_config(), "of": self.of}
