"""The router of 1991, which weights every expert."""

import keras

from keras_moe.layers.linear_router import LinearRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.token_choice import choose_top_k


@keras.saving.register_keras_serializable(package="keras_moe")
class MixtureRouter(LinearRouter):
    """Sends each token to all experts, weighted by a softmax.

    The gating network of the first mixture of experts. Nothing is sparse; it
    is there to compare with, and for few experts.

    Args:
        num_experts: int E.
        balancing: as for `Router`; no rule that evens the load. `None` by
            default, as in the paper.
        capacity: as for `Router`.
        kernel_initializer: initializer of the kernel (H, E).
        kernel_regularizer: optional regularizer of the kernel.

    Returns:
        `keras_moe.routing.TokenChoice` with K = E.

    Raises:
        ValueError: If a size is not positive, or a rule has nothing to do.

    Example:

    Three tokens, two experts:

    >>> import numpy as np
    >>> router = MixtureRouter(2, kernel_initializer="identity")
    >>> tokens = np.log(np.array([[3, 1], [1, 1], [1, 4]], "float32"))
    >>> plan = router(tokens)
    >>> np.array(plan.expert_indices).tolist()
    [[0, 1], [0, 1], [1, 0]]
    >>> weights = keras.ops.convert_to_numpy(plan.combine_weights)
    >>> weights.astype("float64").round(2).tolist()
    [[0.75, 0.25], [0.5, 0.5], [0.8, 0.2]]

    References:
        Jacobs, Jordan, Nowlan and Hinton, 1991, "Adaptive mixtures of local
        experts", Neural Computation 3, equation 1.1.
    """

    source = "Jacobs et al., 1991, equation 1.1"
    has_equal_load = True

    @plain_numbers
    def __init__(self, num_experts, *, balancing=None, **kwargs):
        super().__init__(num_experts, balancing=balancing, **kwargs)

    def route(  # type: ignore[override]
        self, inputs, padding_mask=None, training=None
    ):
        return choose_top_k(self.logits(inputs), self.num_experts)
