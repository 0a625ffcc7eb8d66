"""Causal self-attention with fewer key/value heads than query heads."""

import keras
from keras import ops

from keras_moe.blocks.attend import attend
from keras_moe.blocks.attention_mask import causal_mask
from keras_moe.blocks.causal_attention import CausalAttention
from keras_moe.blocks.norms import make_norm
from keras_moe.blocks.positions import positions_from
from keras_moe.blocks.rolling_cache import roll
from keras_moe.blocks.rolling_cache import slot_positions
from keras_moe.blocks.rotary_embedding import rotary_frequencies
from keras_moe.blocks.rotary_embedding import rotate
from keras_moe.distribution.tensor_parallel import keep_rows
from keras_moe.distribution.tensor_parallel import num_devices
from keras_moe.distribution.tensor_parallel import share_rows
from keras_moe.distribution.tensor_parallel import split_features
from keras_moe.distribution.tensor_parallel import split_shared_heads
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.write_slice import write_slice
from keras_moe.routing.padding import join_masks
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
class GroupedQueryAttention(CausalAttention):
    """Causal attention with rotary positions and grouped heads.

    Each of M key/value heads serves N / M query heads (Ainslie et al., 2023,
    https://arxiv.org/abs/2305.13245), which shrinks the cache by that
    factor. The published variations are arguments: biases, norms of queries
    and keys, clipping, soft cap, scale, window.

    Args:
        num_query_heads: int N.
        num_key_value_heads: int M, a divisor of N.
        head_dim: optional int D; `None` means H / N.
        sliding_window: optional int, how many keys a query sees, itself
            included.
        rope_max_wavelength: float, the published `rope_theta`.
        rope_scaling_factor: float, divides the positions.
        rope_dim: optional int, how many features of a head turn; `None` is
            all of them.
        use_query_key_value_bias: bool (Qwen2).
        use_output_bias: bool.
        query_key_norm: `None`; `"head"`, an RMS norm of each head's query
            and key (Qwen3); or `"projection"`, of all heads' together
            (OLMoE).
        layer_norm_epsilon: float, of that norm.
        clip_query_key_value: optional float, largest magnitude of queries,
            keys and values (DBRX, OLMoE). After the norm, before rotation.
        attention_scale: optional float; `None` means `1 / sqrt(D)`.
        soft_cap: optional float, as for `attend` (Grok-1).
        kernel_initializer: for the four projections.

    Call arguments:
        inputs: float tensor of shape (B, L, H).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
            A Keras mask that comes with the inputs is used as well.
        cache: optional pair of tensors (B, M, X, D), the keys and values of
            X positions; those of the inputs are written at
            `cache_update_index`. Of a cache from `roll_cache` too, which
            takes one token at a time.
        cache_update_index: int or scalar tensor, position of the first input;
            or one for each row, an int32 tensor of shape (B,).

    Returns:
        Tensor of shape (B, L, H); with a cache, the pair of that and the new
        cache.

    Raises:
        ValueError: If M does not divide N, or N does not divide H while
            `head_dim` is `None`, or `query_key_norm` is unknown.

    Example:

    >>> import numpy as np
    >>> layer = GroupedQueryAttention(num_query_heads=4, num_key_value_heads=2)
    >>> tuple(layer(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)
    """

    @plain_numbers
    def __init__(
        self,
        num_query_heads,
        num_key_value_heads,
        head_dim=None,
        sliding_window=None,
        rope_max_wavelength=10_000.0,
        rope_scaling_factor=1.0,
        rope_dim=None,
        use_query_key_value_bias=False,
        use_output_bias=False,
        query_key_norm=None,
        layer_norm_epsilon=1e-6,
        clip_query_key_value=None,
        attention_scale=None,
        soft_cap=None,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(kernel_initializer, **kwargs)
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
        if query_key_norm not in (None, "head", "projection"):
            raise ValueError(
                "Expected `query_key_norm` to be None, 'head' or "
                f"'projection'. Received: query_key_norm={query_key_norm!r}"
            )
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.sliding_window = sliding_window
        self.rope_max_wavelength = rope_max_wavelength
        self.rope_scaling_factor = rope_scaling_factor
        self.rope_dim = rope_dim
        self.use_query_key_value_bias = use_query_key_value_bias
        self.use_output_bias = use_output_bias
        self.query_key_norm = query_key_norm
        self.layer_norm_epsilon = layer_norm_epsilon
        self.clip_query_key_value = clip_query_key_value
        self.attention_scale = attention_scale
        self.soft_cap = soft_cap

    def build(self, inputs_shape, padding_mask_shape=None):
        hidden_dim = inputs_shape[-1]
        head_dim = self.head_dim or self._default_head_dim(hidden_dim)
        self._head_dim = head_dim
        self._frequencies = rotary_frequencies(
            self.rope_dim or head_dim,
            self.rope_max_wavelength,
            self.rope_scaling_factor,
        )
        queries = (self.num_query_heads, head_dim)
        keys = (self.num_key_value_heads, head_dim)
        for name, equation, heads in (
            ("query", "bth,hnd->btnd", queries),
            ("key", "bth,hmd->btmd", keys),
            ("value", "bth,hmd->btmd", keys),
        ):
            axes = equation[-2:] if self.use_query_key_value_bias else None
            projection = self._projection(
                name, equation, (hidden_dim,), heads, axes, kernel=1, bias=0
            )
            setattr(self, name, projection)
        self.output_dense = self._projection(
            "output",
            # PyTorch sums axes in the order of their letters; a kernel that
            # has them in another order is copied at every call.
            "btad,adh->bth",
            queries,
            (hidden_dim,),
            "h" if self.use_output_bias else None,
            kernel=0,
        )
        if self.query_key_norm is not None:
            self.query_norm = self._make_norm("query_norm", queries)
            self.key_norm = self._make_norm("key_norm", keys)

    def call(
        self,
        inputs,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        mask=None,
        inputs_mask=None,
    ):
        if cache is None:
            padding_mask = join_masks(padding_mask, mask, inputs_mask)
            inputs = clean_padding(inputs, padding_mask)
        start = 0 if cache_update_index is None else cache_update_index
        positions = positions_from(start, ops.shape(inputs)[1])
        query, key, value = self._project(inputs)
        query = self._rotate(query, positions)
        key = ops.transpose(self._rotate(key, positions), (0, 2, 1, 3))
        value = ops.transpose(value, (0, 2, 1, 3))
        key_positions = positions
        if cache is None:
            key, value = (
                split_shared_heads(each, self.num_query_heads)
                for each in (key, value)
            )
        else:
            num_slots = ops.shape(cache[0])[2]
            slot = start % num_slots
            key = write_slice(cache[0], key, slot, axis=2)
            value = write_slice(cache[1], value, slot, axis=2)
            key_positions = slot_positions(positions[..., -1:], num_slots)
        visible = causal_mask(
            positions,
            key_positions,
            share_rows(padding_mask, self.num_query_heads),
            self.sliding_window,
        )
        outputs = attend(
            query, key, value, visible, self.attention_scale, self.soft_cap
        )
        outputs = self._project_heads(outputs)
        return outputs if cache is None else (outputs, (key, value))

    def _project(self, inputs):
        inputs = keep_rows(inputs)
        shared = share_rows(inputs, self.num_query_heads)
        if num_devices(self.num_key_value_heads) > 1:
            inputs = shared
        query, key, value = (
            split_features(projection(x), 2)
            for projection, x in (
                (self.query, shared),
                (self.key, inputs),
                (self.value, inputs),
            )
        )
        if self.query_key_norm is not None:
            query = self._norm(self.query_norm, query)
            key = self._norm(self.key_norm, key)
        if self.clip_query_key_value is not None:
            limit = self.clip_query_key_value
            query, key, value = (
                ops.clip(each, -limit, limit) for each in (query, key, value)
            )
        return query, key, value

    def _norm(self, norm, heads):
        if self.query_key_norm == "head":
            return norm(heads)
        shape = ops.shape(heads)
        width = heads.shape[-2] * heads.shape[-1]
        return ops.reshape(norm(ops.reshape(heads, (*shape[:2], width))), shape)

    def empty_cache(self, batch_size, max_length):
        """Make the cache for sequences of up to `max_length` tokens.

        Args:
            batch_size: int B.
            max_length: int X.

        Returns:
            Pair of zero tensors of shape (B, M, X, D) in the compute dtype.
        """
        shape = (
            batch_size,
            self.num_key_value_heads,
            max_length,
            self._head_dim,
        )
        return (
            ops.zeros(shape, dtype=self.compute_dtype),
            ops.zeros(shape, dtype=self.compute_dtype),
        )

    def cached_numbers_per_token(self):
        """Return how many numbers of the cache one token takes.

        Returns:
            int.
        """
        return 2 * self.num_key_value_heads * self._head_dim

    def roll_cache(self, cache, length):
        """Drop from a filled cache what the sliding window will not see.

        Args:
            cache: pair of tensors (B, M, X, D) of X positions.
            length: int or scalar tensor, how many positions count; or one
                for each row, an int32 tensor of shape (B,).

        Returns:
            Pair of tensors (B, M, C, D), C = `sliding_window` if that is
            less than X; tokens are added to it one by one.
        """
        window, num_slots = self.sliding_window, cache[0].shape[2]
        # In a graph X can be open: then the window's slots serve all X.
        if window is None or (num_slots is not None and window >= num_slots):
            return cache
        return tuple(roll(each, length, window) for each in cache)

    def _default_head_dim(self, hidden_dim):
        if hidden_dim % self.num_query_heads:
            raise ValueError(
                "Expected `num_query_heads` to divide the width of the "
                f"inputs. Received: hidden_dim={hidden_dim}, "
                f"num_query_heads={self.num_query_heads}. Set `head_dim`."
            )
        return hidden_dim // self.num_query_heads

    def _make_norm(self, name, heads):
        num_heads, head_dim = heads
        per_head = self.query_key_norm == "head"
        norm = make_norm(
            "rms", self.layer_norm_epsilon, self.dtype_policy, name
        )
        norm.build((None, head_dim if per_head else num_heads * head_dim))
        return norm

    def _rotate(self, inputs, positions):
        return rotate(inputs, positions, self._frequencies)

    def get_config(self):
        return {
            **super().get_config(),
            "num_query_heads": self.num_query_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "sliding_window": self.sliding_window,
            "rope_max_wavelength": self.rope_max_wavelength,
            "rope_scaling_factor": self.rope_scaling_factor,
            "rope_dim": self.rope_dim,
            "use_query_key_value_bias": self.use_query_key_value_bias,
            "use_output_bias": self.use_output_bias,
            "query_key_norm": self.query_key_norm,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "clip_query_key_value": self.clip_query_key_value,
            "attention_scale": self.attention_scale,
            "soft_cap": self.soft_cap,
        }
