"""The router that assigns equally many tokens to each expert."""

import keras
from keras import ops

from keras_moe.layers.linear_router import LinearRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.balanced_assignment import assign_evenly
from keras_moe.routing.token_choice import choose_top_k


@keras.saving.register_keras_serializable(package="keras_moe")
class BalancedAssignmentRouter(LinearRouter):
    """Assigns each expert equally many tokens while training (BASE).

    Of the assignments of a group (a row of the batch) that give each expert
    as many tokens as any other, up to one, the one with the largest sum of
    logits is sought, by `keras_moe.routing.assign_evenly`. The weight is the
    sigmoid of the expert's logit. Outside training each token goes to the
    expert that scores it highest. Training looks at later tokens: not for a
    decoder.

    Args:
        num_experts: int E.
        balancing: as for `Router`; no rule that evens the load.
        capacity: as for `Router`. It drops tokens outside training alone, if
            it has a factor of 1 or more.
        kernel_initializer: initializer of the kernel (H, E).
        kernel_regularizer: optional regularizer of the kernel.

    Returns:
        `keras_moe.routing.TokenChoice` with K = 1.

    Raises:
        ValueError: If a size is not positive, or a rule has nothing to do.

    Example:

    Three tokens prefer expert 0. Each of three experts gets one:

    >>> import numpy as np
    >>> router = BalancedAssignmentRouter(3, kernel_initializer="identity")
    >>> tokens = np.array([[[9, 5, 0], [8, 7, 1], [7, 0, 6]]], "float32")
    >>> plan = router(tokens, training=True)
    >>> np.array(plan.expert_indices)[0, :, 0].tolist()
    [0, 1, 2]
    >>> np.array(router(tokens).expert_indices)[0, :, 0].tolist()
    [0, 0, 0]

    References:
        Lewis et al., 2021, https://arxiv.org/abs/2103.16716, section 3.2. The
        paper assigns the tokens of the whole batch, over all workers.
    """

    source = "Lewis et al., 2021, section 3.2"
    is_causal = False
    has_equal_load = True

    @plain_numbers
    def __init__(self, num_experts, *, balancing="router_z_loss", **kwargs):
        super().__init__(num_experts, balancing=balancing, **kwargs)

    def route(  # type: ignore[override]
        self, inputs, padding_mask=None, training=None
    ):
        logits, chosen = self.logits(inputs), None
        if training:
            assigned = assign_evenly(logits, padding_mask)[..., None]
            experts = ops.arange(self.num_experts, dtype="int32")
            chosen = ops.cast(assigned == experts, "float32")
        return choose_top_k(
            logits, 1, score_function="sigmoid", selection_logits=chosen
        )
