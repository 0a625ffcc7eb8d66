"""Causal self-attention whose cache holds one short vector per token."""

import math

import keras
from keras import ops

from keras_moe.blocks.attend import attend
from keras_moe.blocks.attention_mask import causal_mask
from keras_moe.blocks.causal_attention import CausalAttention
from keras_moe.blocks.norms import make_norm
from keras_moe.blocks.positions import positions_from
from keras_moe.blocks.rotary_embedding import rotate
from keras_moe.blocks.yarn import get_yarn
from keras_moe.blocks.yarn import yarn_frequencies
from keras_moe.blocks.yarn import yarn_magnitude
from keras_moe.blocks.yarn import yarn_softmax_scale
from keras_moe.distribution.tensor_parallel import keep_rows
from keras_moe.distribution.tensor_parallel import share_rows
from keras_moe.distribution.tensor_parallel import split_features
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.write_slice import write_slice
from keras_moe.routing.padding import join_masks
from keras_moe.routing.validation import check_positive

# Of the latents' norms; no published model has another.
LATENT_EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="keras_moe")
class MultiHeadLatentAttention(CausalAttention):
    """Multi-head latent attention (MLA).

    A token is compressed to a latent of R numbers, from which the keys and
    values of all heads are projected up (DeepSeek-V2,
    https://arxiv.org/abs/2405.04434, equations 9 to 13), and to one rotated
    key of P numbers that all heads share (equations 14 to 19). The cache
    holds these R + P numbers. While one query decodes, the up-projection of
    the keys goes into the query, and that of the values behind the softmax
    (section 2.1.2): the heads attend to the latents themselves, and no key
    or value is ever expanded. The products are the same in another order.

    Args:
        num_query_heads: int N.
        key_value_latent_dim: int R, the published `kv_lora_rank`.
        nope_head_dim: int, features of a head's query and key without
            position, the published `qk_nope_head_dim`.
        rope_head_dim: int P, even: features with position, the published
            `qk_rope_head_dim`.
        value_head_dim: int F, the published `v_head_dim`.
        query_latent_dim: optional int Q, the published `q_lora_rank`; `None`
            projects queries from the inputs directly.
        rope_max_wavelength: float, the published `rope_theta`.
        yarn: optional `keras_moe.blocks.Yarn` or a dict of its fields.
        rope_interleaved: bool, whether features 2i and 2i + 1 turn together,
            as published; `False` is i and i + P / 2.
        use_bias: bool, for the projections down and the output.
        kernel_initializer: for all projections.

    Call arguments:
        inputs: float tensor of shape (B, L, H).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
            A Keras mask that comes with the inputs is used as well.
        cache: optional tensor (B, X, R + P), latents and rotated keys of X
            positions; those of the inputs are written at
            `cache_update_index`.
        cache_update_index: int or scalar tensor, position of the first input;
            or one for each row, an int32 tensor of shape (B,).

    Returns:
        Tensor of shape (B, L, H); with a cache, the pair of that and the new
        cache.

    Raises:
        ValueError: If a size is not positive, `rope_head_dim` odd or a field
            of `yarn` unknown.

    Example:

    >>> import numpy as np
    >>> layer = MultiHeadLatentAttention(
    ...     num_query_heads=4, key_value_latent_dim=8, nope_head_dim=6,
    ...     rope_head_dim=2, value_head_dim=6,
    ... )
    >>> tuple(layer(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)
    >>> layer.cached_numbers_per_token()  # of 4 * (8 + 6) keys and values
    10
    """

    @plain_numbers
    def __init__(
        self,
        num_query_heads,
        key_value_latent_dim,
        nope_head_dim,
        rope_head_dim,
        value_head_dim,
        query_latent_dim=None,
        rope_max_wavelength=10_000.0,
        yarn=None,
        rope_interleaved=True,
        use_bias=False,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(kernel_initializer, **kwargs)
        check_positive(
            num_query_heads=num_query_heads,
            key_value_latent_dim=key_value_latent_dim,
            nope_head_dim=nope_head_dim,
            rope_head_dim=rope_head_dim,
            value_head_dim=value_head_dim,
        )
        if query_latent_dim is not None:
            check_positive(query_latent_dim=query_latent_dim)
        if rope_head_dim % 2:
            raise ValueError(
                "Expected an even `rope_head_dim`: features turn in pairs. "
                f"Received: rope_head_dim={rope_head_dim}"
            )
        self.num_query_heads = num_query_heads
        self.key_value_latent_dim = key_value_latent_dim
        self.nope_head_dim = nope_head_dim
        self.rope_head_dim = rope_head_dim
        self.value_head_dim = value_head_dim
        self.query_latent_dim = query_latent_dim
        self.rope_max_wavelength = rope_max_wavelength
        self.yarn = get_yarn(yarn)
        self.rope_interleaved = rope_interleaved
        self.use_bias = use_bias
        self.attention_scale = yarn_softmax_scale(self.yarn) / math.sqrt(
            nope_head_dim + rope_head_dim
        )
        self._frequencies = yarn_frequencies(
            rope_head_dim, rope_max_wavelength, self.yarn
        )

    def build(self, inputs_shape, padding_mask_shape=None):
        hidden_dim = inputs_shape[-1]
        query_dim = self.nope_head_dim + self.rope_head_dim
        queries = (self.num_query_heads, query_dim)
        if self.query_latent_dim is None:
            self.query = self._up("query", hidden_dim, queries)
        else:
            width = self.query_latent_dim
            self.query_down = self._down("query_down", hidden_dim, width)
            self.query_norm = self._norm("query_norm", width)
            self.query_up = self._up("query_up", width, queries)
        width = self.key_value_latent_dim
        self.key_value_down = self._down(
            "key_value_down", hidden_dim, width + self.rope_head_dim
        )
        self.key_value_norm = self._norm("key_value_norm", width)
        self.key_value_up = self._up(
            "key_value_up",
            width,
            (self.num_query_heads, self.nope_head_dim + self.value_head_dim),
        )
        self.output_dense = self._projection(
            "output",
            # In the order of their letters: see `GroupedQueryAttention`.
            "blaf,afh->blh",
            (self.num_query_heads, self.value_head_dim),
            (hidden_dim,),
            "h" if self.use_bias else None,
            kernel=0,
        )

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
        query = self._make_query(inputs, positions)
        latents = self._compress(inputs, positions)  # (B, L, R + P)
        key_positions = positions
        if cache is not None:
            latents = write_slice(cache, latents, start, axis=1)
            key_positions = ops.arange(ops.shape(cache)[1], dtype="int32")
        visible = causal_mask(
            positions,
            key_positions,
            share_rows(padding_mask, self.num_query_heads),
        )
        one_by_one = cache is not None and inputs.shape[1] == 1
        if one_by_one and self.key_value_up.quantization_mode is None:
            outputs = self._attend_to_latents(query, latents, visible)
        else:
            outputs = self._attend_to_heads(query, latents, visible)
        outputs = self._project_heads(outputs)
        return outputs if cache is None else (outputs, latents)

    def _make_query(self, inputs, positions):
        if self.query_latent_dim is None:
            query = self.query(share_rows(inputs, self.num_query_heads))
        else:
            latents = self.query_norm(self.query_down(keep_rows(inputs)))
            query = self.query_up(share_rows(latents, self.num_query_heads))
        query = split_features(query, 2)
        nope, rope = self._split(query, self.nope_head_dim)
        return nope, self._rotate(rope, positions)  # (B, L, N, ...)

    def _compress(self, inputs, positions):
        """Return what a token leaves in the cache."""
        latents, key = self._split(
            self.key_value_down(keep_rows(inputs)), self.key_value_latent_dim
        )
        key = self._rotate(key[:, :, None], positions)  # (B, L, 1, P)
        latents = self.key_value_norm(latents)
        latents = ops.concatenate([latents, ops.squeeze(key, 2)], axis=-1)
        return share_rows(latents, self.num_query_heads)

    def _attend_to_heads(self, query, latents, visible):
        """Expand every head's keys and values: many queries share them."""
        latents, rope_key = self._split(latents, self.key_value_latent_dim)
        heads = split_features(self.key_value_up(latents), 2)
        nope_key, value = self._split(
            ops.transpose(heads, (0, 2, 1, 3)), self.nope_head_dim
        )  # (B, N, X, ...)
        shape = (*ops.shape(nope_key)[:-1], self.rope_head_dim)
        rope_key = ops.broadcast_to(rope_key[:, None], shape)
        return attend(
            ops.concatenate(query, axis=-1),
            ops.concatenate([nope_key, rope_key], axis=-1),
            value,
            visible,
            self.attention_scale,
        )

    def _attend_to_latents(self, query, latents, visible):
        """Let all heads look at the latents, as one shared key and value."""
        nope_query, rope_query = query
        key_up, value_up = self._split(
            ops.cast(self.key_value_up.kernel, self.compute_dtype),
            self.nope_head_dim,
        )  # (R, N, ...)
        latent_query = ops.einsum("blnd,rnd->blnr", nope_query, key_up)
        shared = latents[:, None]  # (B, 1, X, R + P)
        # The rotated keys are mixed too, and left out: cheaper than a copy
        # of the cache without them.
        mixed = attend(
            ops.concatenate([latent_query, rope_query], axis=-1),
            shared,
            shared,
            visible,
            self.attention_scale,
        )
        mixed = mixed[..., : self.key_value_latent_dim]
        return ops.einsum("blnr,rnf->blnf", mixed, value_up)

    def empty_cache(self, batch_size, max_length):
        """Make the cache for sequences of up to `max_length` tokens.

        Args:
            batch_size: int B.
            max_length: int X.

        Returns:
            Zero tensor of shape (B, X, R + P) in the compute dtype.
        """
        shape = (batch_size, max_length, self.cached_numbers_per_token())
        return ops.zeros(shape, dtype=self.compute_dtype)

    def cached_numbers_per_token(self):
        """Return how many numbers of the cache one token takes.

        Returns:
            int.
        """
        return self.key_value_latent_dim + self.rope_head_dim

    def roll_cache(self, cache, length):
        """Return a filled cache as it is: every position stays visible.

        Args:
            cache: tensor of shape (B, X, R + P).
            length: int or tensor, how many positions count.

        Returns:
            `cache`.
        """
        return cache

    def _rotate(self, heads, positions):
        return rotate(
            heads,
            positions,
            self._frequencies,
            self.rope_interleaved,
            yarn_magnitude(self.yarn),
        )

    def _split(self, tensor, width):
        return tensor[..., :width], tensor[..., width:]

    def _norm(self, name, width):
        with keras.RematScope(mode=None):
            norm = make_norm("rms", LATENT_EPSILON, self.dtype_policy, name)
        norm.build((None, width))
        return norm

    def _down(self, name, width, latent_dim):
        bias = "r" if self.use_bias else None
        return self._projection(
            name, "blh,hr->blr", (width,), (latent_dim,), bias
        )

    def _up(self, name, width, heads):
        return self._projection(
            name, "blr,rnd->blnd", (width,), heads, None, kernel=1
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_query_heads": self.num_query_heads,
            "key_value_latent_dim": self.key_value_latent_dim,
            "nope_head_dim": self.nope_head_dim,
            "rope_head_dim": self.rope_head_dim,
            "value_head_dim": self.value_head_dim,
            "query_latent_dim": self.query_latent_dim,
            "rope_max_wavelength": self.rope_max_wavelength,
            "yarn": None if self.yarn is None else self.yarn._asdict(),
            "rope_interleaved": self.rope_interleaved,
            "use_bias": self.use_bias,
        }
