"""T5 attention: unscaled scores plus a position bias, with a cache."""

import keras
from keras import ops

from keras_moe.distribution.tensor_parallel import share_rows
from keras_moe.distribution.tensor_parallel import split_features
from keras_moe.distribution.tensor_parallel import split_rows
from keras_moe.distribution.tensor_parallel import split_weights
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.widen import widen
from keras_moe.routing.padding import join_masks

# Large enough to give a weight of exactly 0 after a float32 softmax, finite
# so that a row without any visible key does not become NaN.
HIDDEN_SCORE = -1e9


@keras.saving.register_keras_serializable(package="keras_moe")
class T5Attention(keras.layers.Layer):
    """Attend from each position to the keys of a sequence, the T5 way.

    Scores are not divided by sqrt(D): the initializer of the queries carries
    that factor (https://arxiv.org/abs/1910.10683). No projection has a bias.
    Softmax runs in float32. Dropout hides a key from every query of a row at
    once, as T5 does.

    Args:
        num_heads: int N, number of attention heads.
        head_dim: int D, width of each head.
        dropout: float, share of the attention weights to drop.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of shape (B, Lq, H), the queries' side.
        context: optional tensor of shape (B, Lk, H), the keys' side; default
            `inputs` (self-attention).
        position_bias: optional tensor broadcastable to (B, N, Lq, Lk), added
            to the scores.
        attention_mask: optional bool tensor broadcastable to (B, Lq, Lk),
            True = visible. A Keras mask of the keys' side is used as well.
        training: bool, whether to apply dropout.

    Returns:
        Tensor of shape (B, Lq, H).

    Example:

    >>> import numpy as np
    >>> x = np.ones((2, 5, 8), "float32")
    >>> layer = T5Attention(num_heads=2, head_dim=3)
    >>> tuple(layer(x).shape)
    (2, 5, 8)

    References:
        Raffel et al., 2019, https://arxiv.org/abs/1910.10683, section 2.1.
    """

    @plain_numbers
    def __init__(self, num_heads, head_dim, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.dropout = dropout
        self.supports_masking = True

    def build(self, inputs_shape):
        hidden_dim = inputs_shape[-1]
        heads = (self.num_heads, self.head_dim)
        inner_dim = self.num_heads * self.head_dim

        def project(name, equation, output_shape, stddev):
            projection = keras.layers.EinsumDense(
                equation,
                output_shape=(None, *output_shape),
                kernel_initializer=keras.initializers.RandomNormal(
                    stddev=stddev
                ),
                dtype=self.dtype_policy,
                name=name,
            )
            projection.supports_masking = True  # Each token by itself.
            return projection

        # Under a RematScope only the scores are recomputed: see `attend`.
        with keras.RematScope(mode=None):
            # sqrt(D) less than the keys: what other models divide by.
            self.query_projection = project(
                "query", "blh,hnd->blnd", heads, (hidden_dim * heads[1]) ** -0.5
            )
            self.key_projection = project(
                "key", "blh,hnd->blnd", heads, hidden_dim**-0.5
            )
            self.value_projection = project(
                "value", "blh,hnd->blnd", heads, hidden_dim**-0.5
            )
            # In the order of their letters: see `GroupedQueryAttention`.
            self.output_projection = project(
                "output", "blad,adh->blh", (hidden_dim,), inner_dim**-0.5
            )
            self.attention_dropout = keras.layers.Dropout(
                self.dropout, dtype=self.dtype_policy, name="dropout"
            )
        for projection in (
            self.query_projection,
            self.key_projection,
            self.value_projection,
        ):
            with split_weights(projection, kernel=1):
                projection.build(inputs_shape)
        with split_weights(self.output_projection, kernel=0):
            self.output_projection.build((None, None, *heads))
        self.built = True

    def project_keys_values(self, context):
        """Project a sequence to the keys and values that `attend` reads.

        Args:
            context: tensor of shape (B, Lk, H).

        Returns:
            Keys and values, two tensors of shape (B, Lk, N, D).
        """
        context = share_rows(context, self.num_heads)
        return (
            split_features(self.key_projection(context), 2),
            split_features(self.value_projection(context), 2),
        )

    def attend(
        self,
        inputs,
        keys_values,
        position_bias=None,
        attention_mask=None,
        training=None,
    ):
        """Attend to keys and values that are projected already.

        Args:
            inputs: tensor of shape (B, Lq, H).
            keys_values: two tensors of shape (B, Lk, N, D), from
                `project_keys_values` or a cache.
            position_bias: optional tensor broadcastable to (B, N, Lq, Lk).
            attention_mask: optional bool tensor broadcastable to
                (B, Lq, Lk), True = visible.
            training: bool, whether to apply dropout.

        Returns:
            Tensor of shape (B, Lq, H).
        """
        inputs = share_rows(inputs, self.num_heads)
        queries = self.query_projection(inputs)
        queries = split_features(queries, 2)
        keys, values = keys_values
        if position_bias is None:
            position_bias = ops.zeros((1, 1, 1, 1), dtype=queries.dtype)
        if attention_mask is None:
            attention_mask = ops.ones((1, 1, 1), dtype=queries.dtype)
        # TensorFlow cannot rematerialize a function of bools.
        attention_mask = share_rows(attention_mask, self.num_heads)
        attention_mask = ops.cast(attention_mask, queries.dtype)
        batch_size, key_length = ops.shape(keys)[:2]
        kept = self.attention_dropout(
            ops.ones((batch_size, self.num_heads, 1, key_length), keys.dtype),
            training=training,
        )
        weigh = super().rematerialized_call(_weigh_values, inputs)
        outputs = weigh(
            queries, keys, values, position_bias, attention_mask, kept
        )
        outputs = split_features(outputs, 2)
        return split_rows(self.output_projection(outputs), self.num_heads)

    def call(
        self,
        inputs,
        context=None,
        position_bias=None,
        attention_mask=None,
        training=None,
        mask=None,
        inputs_mask=None,
        context_mask=None,
    ):
        padding_mask = join_masks(mask, inputs_mask)
        inputs = clean_padding(inputs, padding_mask)
        if context is None:
            context, context_mask = inputs, padding_mask
        else:
            context = clean_padding(context, context_mask)
        if context_mask is not None:
            attention_mask = join_masks(
                attention_mask, ops.expand_dims(context_mask, 1)
            )
        keys_values = self.project_keys_values(context)
        return self.attend(
            inputs, keys_values, position_bias, attention_mask, training
        )

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # `training` and dropout seeds cannot cross a checkpoint, so `attend`
        # rematerializes the large part, the scores, and nothing else.
        return layer_call

    def compute_output_shape(self, inputs_shape):
        return tuple(inputs_shape)

    def get_config(self):
        config = super().get_config()
        config.update(
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            dropout=self.dropout,
        )
        return config


def _weigh_values(queries, keys, values, position_bias, attention_mask, kept):
    scores = ops.einsum("bqnd,bknd->bnqk", queries, keys)
    scores = widen(scores) + widen(position_bias)
    visible = attention_mask[:, None] > 0
    weights = _softmax(ops.where(visible, scores, HIDDEN_SCORE))
    weights = ops.cast(weights, values.dtype) * kept
    return ops.einsum("bnqk,bknd->bqnd", weights, values)


def _softmax(scores):
    # `ops.softmax` warns about sequences of a single key.
    highest = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    weights = ops.exp(scores - highest)
    return weights / ops.sum(weights, axis=-1, keepdims=True)
