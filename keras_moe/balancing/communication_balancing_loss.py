"""DeepSeek-V2's communication balance loss as a rule."""

import keras

from keras_moe.balancing.expert_group_rule import ExpertGroupRule
from keras_moe.losses.expert_groups import communication_balancing_loss
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class CommunicationBalancingLoss(ExpertGroupRule):
    """Adds `weight * communication_balancing_loss(plan, ...)`.

    The function is in `keras_moe.losses`. Per sequence, a mean over rows:
    accumulated gradients equal the whole batch's, if each micro-batch has
    equally many rows with a real token.

    Args:
        weight: float; 0 turns the loss off.
        num_groups: optional int D. `None` means that of the router's
            `expert_groups`.
        num_limited: optional int M, groups that a token is sent to at most.
            `None` means that of the router's `expert_groups`, or else the
            smaller of D and K.
        per_sequence: bool, whether each row of the batch is balanced by
            itself.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example: three tokens of two experts each, on 2 devices.

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> logits = np.array([[[9, 8, 0, 0], [9, 8, 0, 0], [0, 0, 9, 8]]])
    >>> plan = choose_top_k(logits.astype("float32"), top_k=2)
    >>> rule = CommunicationBalancingLoss(1.0, num_groups=2, num_limited=1)
    >>> round(float(rule(plan)), 2)  # f = (4/3, 2/3), P = (2/3, 1/3)
    1.11

    References:
        DeepSeek-AI, 2024, https://arxiv.org/abs/2405.04434, section 2.2.3.
    """

    source = "DeepSeek-V2, 2024, section 2.2.3, communication balance loss"
    evens_load = True

    @plain_numbers
    def __init__(
        self,
        weight=0.02,
        num_groups=None,
        num_limited=None,
        per_sequence=True,
        *,
        scope="batch",
    ):
        super().__init__(weight, num_groups, per_sequence, scope)
        if num_limited is not None:
            check_positive(num_limited=num_limited)
        self.num_limited = num_limited

    def build(self, router):
        super().build(router)
        groups = getattr(router, "expert_groups", None)
        if self.num_limited is None and groups is not None:
            self.num_limited = groups.num_limited

    def loss(self, plan):
        return communication_balancing_loss(
            plan, self.num_groups, self.num_limited, self.per_sequence
        )

    def get_config(self):
        return {**super().get_config(), "num_limited": self.num_limited}
