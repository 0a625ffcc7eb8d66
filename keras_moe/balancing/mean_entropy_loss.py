"""A loss that spreads the router's probability over the experts, as a rule."""

import keras

from keras_moe.balancing.loss_rule import LossRule
from keras_moe.losses.entropy import mean_entropy_loss
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class MeanEntropyLoss(LossRule):
    """Adds `weight * keras_moe.losses.mean_entropy_loss(plan)`.

    Not linear in the batch: accumulated gradients are those of each
    micro-batch's own mean.

    Args:
        weight: float, per nat; 0 turns the loss off.
        threshold: optional float, in nats: there is no loss for more entropy.
            `None` means log(E).
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens on two experts.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> probs = np.array([[0.8, 0.2], [0.8, 0.2], [0.1, 0.9]], "float32")
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> round(float(MeanEntropyLoss(1.0)(plan)), 4)  # the mean is 0.57, 0.43
    0.0089

    References:
        Mustafa et al., 2022, https://arxiv.org/abs/2206.02770, thresholded
        global entropy loss.
    """

    source = "Mustafa et al., 2022 (LIMoE), global entropy loss"
    evens_load = True

    @plain_numbers
    def __init__(self, weight=0.01, threshold=None, *, scope="batch"):
        super().__init__(weight, scope)
        self.threshold = threshold
        if threshold is not None:
            check_not_negative(threshold=threshold)

    def loss(self, plan):
        return mean_entropy_loss(plan, self.threshold)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}
