"""Causal self-attention with fewer key/value heads than query heads."""

import keras
from keras import ops

from keras_moe.blocks.attention_mask import causal_mask
from keras_moe.blocks.rolling_cache import roll
from keras_moe.blocks.rolling_cache import slot_positions
from keras_moe.blocks.rotary_embedding import rotate
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class GroupedQueryAttention(keras.layers.Layer):
    """Causal attention with rotary positions and grouped heads.

    Each of M key/value heads serves N / M query heads (Ainslie et al., 2023,
    https://arxiv.org/abs/2305.13245), which shrinks the cache by that
    factor. No biases.

    Args:
        num_query_heads: int N.
        num_key_value_heads: int M, a divisor of N.
        head_dim: optional int D; `None` means H / N.
        sliding_window: optional int, how many keys a query sees, itself
            included.
        rope_max_wavelength: float, the published `rope_theta`.
        rope_scaling_factor: float, divides the positions.
        kernel_initializer: for the four projections.

    Call arguments:
        inputs: float tensor of shape (B, L, H).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
        cache: optional pair of tensors (B, X, M, D), the keys and values of
            X positions; those of the inputs are written at
            `cache_update_index`. Of a cache from `roll_cache` too, which
            takes one token at a time.
        cache_update_index: int or scalar tensor, position of the first input.

    Returns:
        Tensor of shape (B, L, H); with a cache, the pair of that and the new
        cache.

    Raises:
        ValueError: If M does not divide N, or N does not divide H while
            `head_dim` is `None`.

    Example:

    >>> import numpy as np
    >>> layer = GroupedQueryAttention(num_query_heads=4, num_key_value_heads=2)
    >>> tuple(layer(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)
    """

    def __init__(
        self,
        num_query_heads,
        num_key_value_heads,
        head_dim=None,
        sliding_window=None,
        rope_max_wavelength=10_000.0,
        rope_scaling_factor=1.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(
            num_query_heads=num_query_heads,
            num_key_value_heads=num_key_value_heads,
        )
        if num_query_heads % num_key_value_heads:
            raise ValueError(
                "Expected `num_key_value_heads` to divide `num_query_heads`. "
                f"Received: num_query_heads={num_query_heads}, "
                f"num_key_value_heads={num_key_value_heads}. Each key/value "
                "head serves the same number of query heads."
            )
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.sliding_window = sliding_window
        self.rope_max_wavelength = rope_max_wavelength
        self.rope_scaling_factor = rope_scaling_factor
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, inputs_shape, padding_mask_shape=None):
        hidden_dim = inputs_shape[-1]
        head_dim = self.head_dim or self._default_head_dim(hidden_dim)
        self._head_dim = head_dim
        queries = (self.num_query_heads, head_dim)
        keys = (self.num_key_value_heads, head_dim)
        self.query = self._projection("query", "bth,hnd->btnd", queries)
        self.key = self._projection("key", "bth,hmd->btmd", keys)
        self.value = self._projection("value", "bth,hmd->btmd", keys)
        for projection in (self.query, self.key, self.value):
            projection.build(inputs_shape)
        self.output_dense = self._projection(
            "output", "btnd,ndh->bth", (hidden_dim,)
        )
        self.output_dense.build((*inputs_shape[:-1], *queries))

    def call(
        self,
        inputs,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
    ):
        start = 0 if cache_update_index is None else cache_update_index
        positions = start + ops.arange(ops.shape(inputs)[1], dtype="int32")
        query = self._rotate(self.query(inputs), positions)
        key = self._rotate(self.key(inputs), positions)
        value = self.value(inputs)
        key_positions = positions
        if cache is not None:
            num_slots = ops.shape(cache[0])[1]
            slot = (0, ops.mod(start, num_slots), 0, 0)
            key = ops.slice_update(cache[0], slot, key)
            value = ops.slice_update(cache[1], slot, value)
            key_positions = slot_positions(positions[-1], num_slots)
        new_cache = (key, value)
        mask = causal_mask(
            positions, key_positions, padding_mask, self.sliding_window
        )
        # The mask needs the query's batch size: torch does not broadcast it.
        shape = (ops.shape(inputs)[0], 1, *ops.shape(mask)[1:])
        mask = ops.broadcast_to(mask[:, None], shape)
        outputs = ops.dot_product_attention(
            query,
            self._repeat_single_head(key),
            self._repeat_single_head(value),
            mask=mask,
        )
        outputs = self.output_dense(outputs)
        return outputs if cache is None else (outputs, new_cache)

    def empty_cache(self, batch_size, max_length):
        """Make the cache for sequences of up to `max_length` tokens.

        Args:
            batch_size: int B.
            max_length: int X.

        Returns:
            Pair of zero tensors of shape (B, X, M, D) in the compute dtype.
        """
        shape = (
            batch_size,
            max_length,
            self.num_key_value_heads,
            self._head_dim,
        )
        return (
            ops.zeros(shape, dtype=self.compute_dtype),
            ops.zeros(shape, dtype=self.compute_dtype),
        )

    def roll_cache(self, cache, length):
        """Drop from a filled cache what the sliding window will not see.

        Args:
            cache: pair of tensors (B, X, M, D) of X positions.
            length: int or scalar tensor, how many positions count.

        Returns:
            Pair of tensors (B, C, M, D), C = `sliding_window` if that is
            less than X; tokens are added to it one by one.
        """
        window = self.sliding_window
        if window is None or window >= cache[0].shape[1]:
            return cache
        return tuple(roll(each, length, window) for each in cache)

    def rematerialized_call(self, layer_call, *args, **kwargs):
        keras_call = super().rematerialized_call(layer_call, *args, **kwargs)
        if keras_call is layer_call:
            return layer_call

        # TensorFlow recomputes functions of positional tensors alone.
        def call(inputs, padding_mask=None, cache=None, **cache_arguments):
            if cache is not None:
                return layer_call(inputs, cache=cache, **cache_arguments)
            tensors = (
                [inputs] if padding_mask is None else [inputs, padding_mask]
            )
            return keras.remat(layer_call)(*tensors)

        return call

    def _repeat_single_head(self, heads):
        # Keras repeats shared heads by itself, but a single one only on JAX
        # and PyTorch.
        if self.num_key_value_heads > 1:
            return heads
        return ops.repeat(heads, self.num_query_heads, axis=2)

    def _default_head_dim(self, hidden_dim):
        if hidden_dim % self.num_query_heads:
            raise ValueError(
                "Expected `num_query_heads` to divide the width of the "
                f"inputs. Received: hidden_dim={hidden_dim}, "
                f"num_query_heads={self.num_query_heads}. Set `head_dim`."
            )
        return hidden_dim // self.num_query_heads

    def _projection(self, name, equation, output_shape):
        initializer = self.kernel_initializer
        if isinstance(initializer, keras.initializers.Initializer):
            initializer = initializer.clone()
        # The attention is recomputed as a whole, not part by part again.
        with keras.RematScope(mode=None):
            return keras.layers.EinsumDense(
                equation,
                output_shape=(None, *output_shape),
                kernel_initializer=initializer,
                dtype=self.dtype_policy,
                name=name,
            )

    def _rotate(self, inputs, positions):
        return rotate(
            inputs,
            positions,
            self.rope_max_wavelength,
            self.rope_scaling_factor,
        )

    def compute_output_shape(self, inputs_shape, padding_mask_shape=None):
        return inputs_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "sliding_window": self.sliding_window,
            "rope_max_wavelength": self.rope_max_wavelength,
            "rope_scaling_factor": self.rope_scaling_factor,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }
