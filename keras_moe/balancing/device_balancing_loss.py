"""DeepSeek-V2's device-level balance loss as a rule."""

import keras

from keras_moe.balancing.expert_group_rule import ExpertGroupRule
from keras_moe.losses.expert_groups import device_balancing_loss
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class DeviceBalancingLoss(ExpertGroupRule):
    """Adds `weight * keras_moe.losses.device_balancing_loss(plan, ...)`.

    Per sequence, a mean over rows: accumulated gradients equal the whole
    batch's, if each micro-batch has equally many rows with a real token.

    Args:
        weight: float; 0 turns the loss off.
        num_groups: optional int D. `None` means that of the router's
            `expert_groups`.
        per_sequence: bool, whether each row of the batch is balanced by
            itself.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens on the experts 0, 1 and 2, of 2 devices.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = 8 * np.eye(4, dtype="float32")[None, :3]
    >>> plan = choose_top_k(logits, top_k=1)
    >>> # f = (4/3, 2/3), P = (2/3, 1/3): 10 / 9
    >>> round(float(DeviceBalancingLoss(1.0, num_groups=2)(plan)), 2)
    1.11

    References:
        DeepSeek-AI, 2024, https://arxiv.org/abs/2405.04434, section 2.2.3.
    """

    source = "DeepSeek-V2, 2024, section 2.2.3, device-level balance loss"
    evens_load = True

    @plain_numbers
    def __init__(
        self, weight=0.05, num_groups=None, per_sequence=True, *, scope="batch"
    ):
        super().__init__(weight, num_groups, per_sequence, scope)

    def loss(self, plan):
        return device_balancing_loss(plan, self.num_groups, self.per_sequence)
