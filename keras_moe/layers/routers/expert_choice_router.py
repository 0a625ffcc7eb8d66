"""The router in which experts choose tokens."""

import keras

from keras_moe.layers.linear_router import LinearRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.capacity import expert_capacity
from keras_moe.routing.expert_choice import ExpertChoice
from keras_moe.routing.expert_choice import choose_tokens
from keras_moe.routing.slot_assignment import grouped_shape


@keras.saving.register_keras_serializable(package="keras_moe")
class ExpertChoiceRouter(LinearRouter):
    """Lets each expert choose the tokens that score it highest.

    Every expert takes `ceil(capacity_factor * S / E)` of the S tokens of a
    group (a row of the batch), so all are equally busy without any loss. A
    token is seen by `capacity_factor` experts on average, by many or by none;
    `unrouted_fraction` of `keras_moe.metrics` is the number to watch. What a
    token gets depends on later tokens: not for a decoder.

    Args:
        num_experts: int E.
        capacity_factor: float, experts that see a token, on average.
        eval_capacity_factor: optional float, the same outside training;
            `None` means `capacity_factor`.
        balancing: as for `Router`; no rule that evens the load.
        kernel_initializer: initializer of the kernel (H, E).
        kernel_regularizer: optional regularizer of the kernel.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...), True = real token.
        training: bool.

    Returns:
        `keras_moe.routing.ExpertChoice`.

    Raises:
        ValueError: If a size or factor is not positive, there is a
            `capacity`, or a rule has nothing to do.

    Example:

    Three tokens, two experts, which take 2 tokens each:

    >>> import numpy as np
    >>> router = ExpertChoiceRouter(
    ...     num_experts=2, capacity_factor=1.0, kernel_initializer="identity"
    ... )
    >>> tokens = np.log(np.array([[1, 3], [1, 1], [4, 1]], "float32"))
    >>> plan = router(tokens)
    >>> np.array(plan.token_indices)[0].tolist()
    [[2, 1], [0, 1]]

    References:
        Zhou et al., 2022, https://arxiv.org/abs/2202.09368, section 3.2:
        `k = n * c / e` and the matrices S, I, G. Rounded up here.
    """

    source = "Zhou et al., 2022, section 3.2"
    plan_class = ExpertChoice
    is_causal = False
    has_equal_load = True

    @plain_numbers
    def __init__(
        self,
        num_experts,
        capacity_factor=2.0,
        *,
        eval_capacity_factor=None,
        balancing="router_z_loss",
        **kwargs,
    ):
        super().__init__(num_experts, balancing=balancing, **kwargs)
        for factor in (capacity_factor, eval_capacity_factor):
            if factor is not None:
                expert_capacity(factor, 1, 1, num_experts)
        self.capacity_factor = capacity_factor
        self.eval_capacity_factor = eval_capacity_factor

    def route(  # type: ignore[override]
        self, inputs, padding_mask=None, training=None
    ):
        factor = self.capacity_factor
        if not training and self.eval_capacity_factor is not None:
            factor = self.eval_capacity_factor
        logits = self.logits(inputs)
        _, group_size, num_experts = grouped_shape(logits)
        capacity = expert_capacity(factor, group_size, 1, num_experts)
        return choose_tokens(logits, capacity, padding_mask)

    def get_config(self):
        return {
            **super().get_config(),
            "capacity_factor": self.capacity_factor,
            "eval_capacity_factor": self.eval_capacity_factor,
        }
