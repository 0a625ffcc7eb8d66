"""The auxiliary loss of GShard and Switch as a rule."""

import keras

from keras_moe.balancing.loss_rule import LossRule
from keras_moe.losses.load_balancing import check_choices
from keras_moe.losses.load_balancing import load_balancing_loss
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class LoadBalancingLoss(LossRule):
    """Adds `weight * keras_moe.losses.load_balancing_loss(plan)`.

    The loss of a batch is not the mean of the losses of its parts, so
    accumulated gradients are those of each micro-batch's own balance. With
    `per_sequence` they equal the whole batch's, if each micro-batch has
    equally many rows with a real token. Rows of packed sequences count as
    one. Sample weights have no effect: balance is a matter of tokens.

    Args:
        weight: float; 0 turns the loss off.
        normalize_top_k: bool, whether the loss is divided by K, so that it is
            1 if balanced. `False` as in Switch and Mixtral, where it is K.
        choices: `"all"`, or `"first"` for a token's first choice alone, as
            in GShard.
        per_sequence: bool, whether each row of the batch is balanced by
            itself, as in DeepSeek-V3.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens on the experts 0, 0 and 2.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> probs = np.array([[6, 3, 1], [5, 3, 2], [1, 3, 6]], "float32") / 10
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> # f = (2/3, 0, 1/3), P = (0.4, 0.3, 0.3), 3 * (0.8/3 + 0.3/3) = 1.1
    >>> round(float(LoadBalancingLoss(weight=0.02)(plan)), 4)
    0.022

    References:
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, equations 4 to 6.
        Lepikhin et al., 2020, https://arxiv.org/abs/2006.16668, algorithm 1.
        DeepSeek-AI, 2024, https://arxiv.org/abs/2412.19437, equations 17 to
        20.
    """

    source = "Fedus et al., 2021, equations 4 to 6"
    evens_load = True

    @plain_numbers
    def __init__(
        self,
        weight=0.01,
        *,
        normalize_top_k=True,
        choices="all",
        per_sequence=False,
        scope="batch",
    ):
        super().__init__(weight, scope)
        check_choices(choices)
        self.normalize_top_k = normalize_top_k
        self.choices = choices
        self.per_sequence = per_sequence

    def loss(self, plan):
        return load_balancing_loss(
            plan,
            normalize_top_k=self.normalize_top_k,
            choices=self.choices,
            per_sequence=self.per_sequence,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "normalize_top_k": self.normalize_top_k,
            "choices": self.choices,
            "per_sequence": self.per_sequence,
        }
