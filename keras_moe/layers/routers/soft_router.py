"""The router of Soft MoE."""

import keras
from keras import ops

from keras_moe.layers.router import Router
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.soft_slots import SoftSlots
from keras_moe.routing.soft_slots import mix_tokens
from keras_moe.routing.validation import check_positive

# Inside the root of a norm, so that a token of zeros has a gradient.
EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="keras_moe")
class SoftRouter(Router):
    """Gives every expert averages of tokens, in P slots (Soft MoE).

    A slot is a weighted average of all tokens of a group (a row of the
    batch), a token gets a weighted average of all slots' outputs. Nothing is
    chosen, dropped or unbalanced. The cost follows the number of slots: E * P
    rows for each group, whatever its length. What a token gets depends on
    later tokens: not for a decoder.

    Args:
        num_experts: int E.
        slots_per_expert: int P. The paper's models have E * P near the number
            of tokens S or below.
        balancing: as for `Router`; no rule that evens the load.
        kernel_initializer: initializer of the slots' vectors (H, E, P), of
            which the direction matters alone.

    Call arguments:
        inputs: float tensor of shape (..., H).
        padding_mask: optional bool tensor of shape (...), True = real token.
        training: bool.

    Returns:
        `keras_moe.routing.SoftSlots`.

    Weights: `kernel` (H, E, P), the slots' vectors, and `scale`, a scalar.

    Raises:
        ValueError: If a size is not positive, there is a `capacity`, or a
            rule has nothing to do.

    Example:

    Three tokens, two experts with a slot each. Tokens and slots are compared
    by their directions:

    >>> import numpy as np
    >>> router = SoftRouter(num_experts=2, slots_per_expert=1)
    >>> router.build((None, 2))
    >>> value = router.kernel.assign(np.eye(2)[..., None])
    >>> value = router.scale.assign(np.log(9.0))
    >>> plan = router(np.array([[7, 0], [0, 5], [0, 0]], "float32"))
    >>> weights = ops.convert_to_numpy(plan.combine_weights).astype("float64")
    >>> weights[0, :, :, 0].round(2).tolist()
    [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]
    >>> weights = ops.convert_to_numpy(plan.dispatch_weights).astype("float64")
    >>> weights[0, :, 0, 0].round(2).tolist()  # 9, 1 and 1 of 11
    [0.82, 0.09, 0.09]

    References:
        Puigcerver et al., 2023, https://arxiv.org/abs/2308.00951, equations 1
        and 2; normalization as in its section 2.3.
    """

    source = "Puigcerver et al., 2023, equations 1 and 2"
    plan_class = SoftSlots
    is_causal = False
    has_equal_load = True

    @plain_numbers
    def __init__(
        self,
        num_experts,
        slots_per_expert=1,
        *,
        balancing=None,
        kernel_initializer="lecun_normal",
        **kwargs,
    ):
        super().__init__(num_experts, balancing=balancing, **kwargs)
        check_positive(slots_per_expert=slots_per_expert)
        self.slots_per_expert = slots_per_expert
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, inputs_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs_shape[-1], self.num_experts, self.slots_per_expert),
            initializer=self.kernel_initializer,
        )
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        super().build(inputs_shape)

    def route(  # type: ignore[override]
        self, inputs, padding_mask=None, training=None
    ):
        kernel = self.scale * _normalize(self.kernel, axis=0)
        logits = ops.einsum(
            "...h,hep->...ep", _normalize(inputs, axis=-1), kernel
        )
        return mix_tokens(logits, padding_mask)

    def get_config(self):
        return {
            **super().get_config(),
            "slots_per_expert": self.slots_per_expert,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }


def _normalize(vectors, axis):
    squares = ops.sum(ops.square(vectors), axis=axis, keepdims=True)
    return vectors * ops.rsqrt(squares + EPSILON)
