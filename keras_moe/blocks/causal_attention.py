"""What the causal attentions with a cache share."""

import keras
from keras import ops

from keras_moe.distribution.tensor_parallel import split_features
from keras_moe.distribution.tensor_parallel import split_rows
from keras_moe.distribution.tensor_parallel import split_weights
from keras_moe.routing.padding import join_masks


class CausalAttention(keras.layers.Layer):
    """A layer that projects, and that a RematScope recomputes as a whole.

    Not used by itself.

    Args:
        kernel_initializer: for the projections.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    @property
    def rotary_frequencies(self):
        """float32 array of shape (P,), in radians per token, once built."""
        return self._frequencies

    def _projection(
        self, name, equation, input_shape, output_shape, bias_axes, **split
    ):
        """Make and build a projection of tensors (B, L, *input_shape)."""
        initializer = self.kernel_initializer
        if isinstance(initializer, keras.initializers.Initializer):
            initializer = initializer.clone()
        # The attention is recomputed as a whole, not part by part again.
        with keras.RematScope(mode=None):
            projection = keras.layers.EinsumDense(
                equation,
                output_shape=(None, *output_shape),
                bias_axes=bias_axes,
                kernel_initializer=initializer,
                dtype=self.dtype_policy,
                name=name,
            )
        projection.supports_masking = True  # Each token by itself.
        with split_weights(projection, **split):
            projection.build((None, None, *input_shape))
        return projection

    def _project_heads(self, heads):
        """Project heads (B, L, N, ...) to outputs (B, L, H)."""
        outputs = self.output_dense(split_features(heads, 2))
        return split_rows(outputs, heads.shape[2])

    def rematerialized_call(self, layer_call, *args, **kwargs):
        keras_call = super().rematerialized_call(layer_call, *args, **kwargs)
        if keras_call is layer_call:
            return layer_call

        # TensorFlow recomputes functions of positional tensors alone.
        def call(
            inputs,
            padding_mask=None,
            cache=None,
            cache_update_index=None,
            mask=None,
            inputs_mask=None,
        ):
            if cache is not None:
                return layer_call(
                    inputs, padding_mask, cache, cache_update_index
                )
            joined = join_masks(padding_mask, mask, inputs_mask)
            if joined is None:
                return keras.remat(layer_call)(inputs)
            # Not bool: it adds up the masks' gradients, which are zeros.
            return keras.remat(layer_call)(inputs, ops.cast(joined, "int32"))

        return call

    def compute_output_shape(self, inputs_shape, padding_mask_shape=None):
        return inputs_shape

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }
