"""T5 encoder block: self-attention, then a feed-forward block."""

import keras
from keras import ops

from keras_moe.blocks.t5_block import T5Block
from keras_moe.ops.padding import clean_padding
from keras_moe.routing.padding import join_masks


@keras.saving.register_keras_serializable(package="keras_moe")
class T5EncoderBlock(T5Block):
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
            A Keras mask that comes with the inputs is used as well.
        training: bool, whether to apply dropout and training capacity.
        **routing_inputs: what the router wants besides, such as token ids.

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

    attentions = ("self_attention",)

    def call(
        self,
        inputs,
        position_bias=None,
        padding_mask=None,
        training=None,
        mask=None,
        inputs_mask=None,
        **routing_inputs,
    ):
        padding_mask = join_masks(padding_mask, mask, inputs_mask)
        visible = None
        if padding_mask is not None:
            visible = ops.expand_dims(padding_mask, 1)  # (B, L) -> (B, 1, L)
        inputs = clean_padding(inputs, padding_mask)

        def attend(attention, x):
            return attention(
                x,
                position_bias=position_bias,
                attention_mask=visible,
                training=training,
            )

        x = self.add(inputs, "self_attention", attend, training)
        return self._feed(x, padding_mask, training, routing_inputs)
