"""A loss that makes the router sure of its choice, as a rule."""

import keras

from keras_moe.balancing.loss_rule import LossRule
from keras_moe.losses.entropy import token_entropy_loss
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class TokenEntropyLoss(LossRule):
    """Adds `weight * keras_moe.losses.token_entropy_loss(plan)`.

    It does not balance the experts: combine it with `MeanEntropyLoss`. A mean
    over tokens: accumulated gradients equal the whole batch's, if each
    micro-batch has equally many real tokens.

    Args:
        weight: float, per nat; 0 turns the loss off.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens, two of which cannot decide.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> probs = np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 1e-9]], "float32")
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> round(float(TokenEntropyLoss(0.1)(plan)), 4)  # 0.1 * 2 / 3 * log(2)
    0.0462

    References:
        Mustafa et al., 2022, https://arxiv.org/abs/2206.02770, local entropy
        loss.
    """

    source = "Mustafa et al., 2022 (LIMoE), local entropy loss"

    @plain_numbers
    def __init__(self, weight=0.01, *, scope="batch"):
        super().__init__(weight, scope)

    def loss(self, plan):
        return token_entropy_loss(plan)
