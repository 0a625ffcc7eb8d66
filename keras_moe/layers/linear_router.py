"""Routers that score experts by a linear projection of the token."""

import keras
from keras import ops

from keras_moe.layers.router import Router


class LinearRouter(Router):
    """Has one logit for each expert: `inputs @ kernel`.

    Abstract: a subclass says in `route` what it makes of `logits(inputs)`.

    Args:
        num_experts: int E.
        balancing: as for `Router`.
        capacity: as for `Router`.
        kernel_initializer: initializer of the kernel (H, E).
        kernel_regularizer: optional regularizer of the kernel.
    """

    def __init__(
        self,
        num_experts,
        *,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(num_experts, **kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, inputs_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(inputs_shape[-1], self.num_experts),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer and self._regularize,
        )
        super().build(inputs_shape)

    def logits(self, inputs):
        """Score the experts.

        Args:
            inputs: float32 tensor of shape (..., H).

        Returns:
            float32 tensor of shape (..., E).
        """
        return ops.matmul(inputs, self.kernel)

    def _regularize(self, kernel):
        # The dtype of a model's own loss: TensorFlow adds no other to it.
        loss = self.kernel_regularizer(kernel)
        return ops.cast(loss, keras.config.floatx())

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "kernel_regularizer": keras.regularizers.serialize(
                self.kernel_regularizer
            ),
        }
