"""The dense counterpart of an expert."""

import keras

from keras_moe.distribution.tensor_parallel import share_rows
from keras_moe.distribution.tensor_parallel import split_features
from keras_moe.distribution.tensor_parallel import split_rows
from keras_moe.distribution.tensor_parallel import split_weights
from keras_moe.experts.per_expert_initializer import reseed
from keras_moe.ops.gated_activation import gate_branches
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class FeedForward(keras.layers.Layer):
    """A feed-forward block: gated, or plain.

    `(act(x W_gate) * (x W_up)) W_down`, or `act(x W_up) W_down`. Made of
    `keras.layers.Dense`, so LoRA and quantization work as in any model.

    Args:
        intermediate_dim: int I, width of each branch.
        activation: name or function. Defaults to `"silu"`. With
            `keras_moe.ops.swiglu` the gate is twice as wide.
        gated: bool.
        kernel_initializer: for all kernels.
        use_bias: bool, whether the dense layers have biases.

    Call arguments:
        inputs: float tensor of shape (..., H).
        mask: optional bool tensor of shape (...), True = real token: a Keras
            mask that comes with the inputs.

    Returns:
        Tensor of the shape of `inputs`.

    Example:

    >>> import numpy as np
    >>> layer = FeedForward(intermediate_dim=32)
    >>> tuple(layer(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)

    References:
        Shazeer, 2020, https://arxiv.org/abs/2002.05202, equation 6.
    """

    @plain_numbers
    def __init__(
        self,
        intermediate_dim,
        activation="silu",
        gated=True,
        kernel_initializer="glorot_uniform",
        use_bias=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(intermediate_dim=intermediate_dim)
        self.intermediate_dim = intermediate_dim
        self.activation = keras.activations.get(activation)
        self.gated = gated
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.use_bias = use_bias
        self.supports_masking = True

    def build(self, inputs_shape):
        hidden_dim = inputs_shape[-1]
        # Kernels of one shape must not start equal, so each draws anew.
        columns = self.intermediate_dim
        self.up = self._dense("up", columns, 0)
        self._build(self.up, inputs_shape, kernel=1, bias=0)
        if self.gated:
            gate_width = gate_branches(self.activation) * columns
            self.gate = self._dense("gate", gate_width, 1)
            self._build(self.gate, inputs_shape, kernel=1, bias=0)
        self.down = self._dense("down", hidden_dim, 2)
        self._build(self.down, (*inputs_shape[:-1], columns), kernel=0)

    def call(self, inputs, mask=None):
        inputs = clean_padding(inputs, mask)
        inputs = share_rows(inputs, self.intermediate_dim)
        if self.gated:
            gates = self.activation(split_features(self.gate(inputs), -1))
            columns = gates * split_features(self.up(inputs), -1)
        else:
            columns = self.activation(split_features(self.up(inputs), -1))
        return split_rows(self.down(columns), self.intermediate_dim)

    def _dense(self, name, units, offset):
        # Under a RematScope the block is recomputed as a whole.
        with keras.RematScope(mode=None):
            return keras.layers.Dense(
                units,
                use_bias=self.use_bias,
                kernel_initializer=reseed(self.kernel_initializer, offset),
                dtype=self.dtype_policy,
                name=name,
            )

    def _build(self, dense, inputs_shape, **split):
        with split_weights(dense, **split):
            dense.build(inputs_shape)

    def rematerialized_call(self, layer_call, *args, **kwargs):
        keras_call = super().rematerialized_call(layer_call, *args, **kwargs)
        if keras_call is layer_call:
            return layer_call

        # TensorFlow recomputes functions of positional float tensors alone.
        def call(inputs, mask=None):
            return keras_call(clean_padding(inputs, mask))

        return call

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def get_config(self):
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "activation": keras.activations.serialize(self.activation),
            "gated": self.gated,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "use_bias": self.use_bias,
        }
