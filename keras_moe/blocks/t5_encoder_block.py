"""T5 encoder block: self-attention, then a feed-forward block."""

import keras

from keras_moe.blocks.t5_attention import T5Attention
from keras_moe.blocks.t5_feed_forward_block import T5FeedForwardBlock


@keras.saving.register_keras_serializable(package="keras_moe")
class T5EncoderBlock(keras.layers.Layer):
    """Let every token see the whole sequence, then transform each alone.

    Pre-norm: each half adds to its inputs what it computes from their RMS
    normalization.

    Args:
        num_heads: int N, number of attention heads.
        head_dim: int D, width of each head.
        feed_forward: layer from (B, L, H) to (B, L, H), dense or sparse.
        dropout: float, share of attention weights and outputs to drop.
        layer_norm_epsilon: float, added to the mean square.
        extra_feed_forward: optional layer of the same kind, in a block of its
            own after the first: the dense layer that ST-MoE has after a
            sparse one (https://arxiv.org/abs/2202.08906).
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of shape (B, L, H).
        position_bias: optional tensor of shape (1, N, L, L).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
        training: bool, whether to apply dropout and training capacity.

    Returns:
        Tensor of shape (B, L, H).

    Example:

    >>> import keras
    >>> import numpy as np
    >>> block = T5EncoderBlock(2, 4, feed_forward=keras.layers.Dense(8))
    >>> tuple(block(np.ones((2, 5, 8), "float32")).shape)
    (2, 5, 8)

    References:
        Raffel et al., 2019, https://arxiv.org/abs/1910.10683, section 2.1.
    """

    def __init__(
        self,
        num_heads,
        head_dim,
        feed_forward,
        dropout=0.0,
        layer_norm_epsilon=1e-6,
        extra_feed_forward=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.dropout = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.self_attention = T5Attention(
            num_heads,
            head_dim,
            dropout=dropout,
            dtype=self.dtype_policy,
            name="self_attention",
        )
        # Under a RematScope attention and feed-forward are recomputed; the
        # cheap parts, and the dropout's random state, are not.
        with keras.RematScope(mode=None):
            self.self_attention_norm = keras.layers.RMSNormalization(
                epsilon=layer_norm_epsilon,
                dtype=self.dtype_policy,
                name="self_attention_norm",
            )
            self.attention_dropout = keras.layers.Dropout(
                dropout, dtype=self.dtype_policy, name="attention_dropout"
            )

        def feed_forward_block(feed_forward, name):
            return T5FeedForwardBlock(
                feed_forward,
                dropout=dropout,
                layer_norm_epsilon=layer_norm_epsilon,
                dtype=self.dtype_policy,
                name=name,
            )

        self.feed_forward_block = feed_forward_block(
            feed_forward, "feed_forward_block"
        )
        self.extra_feed_forward_block = None
        if extra_feed_forward is not None:
            self.extra_feed_forward_block = feed_forward_block(
                extra_feed_forward, "extra_feed_forward_block"
            )

    def build(self, inputs_shape):
        self.self_attention_norm.build(inputs_shape)
        self.self_attention.build(inputs_shape)
        self.feed_forward_block.build(inputs_shape)
        if self.extra_feed_forward_block is not None:
            self.extra_feed_forward_block.build(inputs_shape)
        self.built = True

    def call(
        self, inputs, position_bias=None, padding_mask=None, training=None
    ):
        visible = None if padding_mask is None else padding_mask[:, None, :]
        attended = self.self_attention(
            self.self_attention_norm(inputs),
            position_bias=position_bias,
            attention_mask=visible,
            training=training,
        )
        x = inputs + self.attention_dropout(attended, training=training)
        x = self.feed_forward_block(
            x, padding_mask=padding_mask, training=training
        )
        if self.extra_feed_forward_block is None:
            return x
        return self.extra_feed_forward_block(
            x, padding_mask=padding_mask, training=training
        )

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # The feed-forward layer may be sparse: its routing losses and
        # counters must not run twice. Sublayers rematerialize themselves.
        return layer_call

    def compute_output_shape(self, inputs_shape):
        return tuple(inputs_shape)

    def get_config(self):
        config = super().get_config()
        extra = self.extra_feed_forward_block
        config.update(
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            feed_forward=keras.saving.serialize_keras_object(
                self.feed_forward_block.feed_forward
            ),
            dropout=self.dropout,
            layer_norm_epsilon=self.layer_norm_epsilon,
            extra_feed_forward=extra
            and keras.saving.serialize_keras_object(extra.feed_forward),
        )
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for name in ("feed_forward", "extra_feed_forward"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
