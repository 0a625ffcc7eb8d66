"""T5 decoder block: causal self-attention, cross-attention, feed-forward."""

import keras
from keras import ops

from keras_moe.blocks.attention_mask import causal_mask
from keras_moe.blocks.positions import positions_from
from keras_moe.blocks.t5_block import T5Block
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.write_slice import write_slice
from keras_moe.routing.padding import join_masks


@keras.saving.register_keras_serializable(package="keras_moe")
class T5DecoderBlock(T5Block):
    """Let every token see its past and the encoder, then transform it.

    `call` is for whole sequences; `call_with_cache` continues a sequence
    whose keys and values are known, which is what generation needs. Both run
    the same code on their keys and values.

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
        encoder_outputs: tensor of shape (B, Lk, H), same H.
        position_bias: optional tensor of shape (1, N, L, L) for the
            self-attention; cross-attention has none.
        padding_mask: optional bool tensor of shape (B, L), True = real token.
        encoder_padding_mask: optional bool tensor of shape (B, Lk). Keras
            masks that come with both inputs are used as well.
        training: bool, whether to apply dropout and training capacity.
        **routing_inputs: what the router wants besides, such as token ids.

    Returns:
        Tensor of shape (B, L, H).

    Example:

    >>> import keras
    >>> import numpy as np
    >>> block = T5DecoderBlock(2, 4, feed_forward=keras.layers.Dense(8))
    >>> x = np.ones((2, 5, 8), "float32")
    >>> tuple(block(x, encoder_outputs=x[:, :3]).shape)
    (2, 5, 8)

    References:
        Raffel et al., 2019, https://arxiv.org/abs/1910.10683, section 2.1.
    """

    attentions = ("self_attention", "cross_attention")

    def build(self, inputs_shape, encoder_outputs_shape=None):
        super().build(inputs_shape)  # Both have the same width.

    def call(
        self,
        inputs,
        encoder_outputs,
        position_bias=None,
        padding_mask=None,
        encoder_padding_mask=None,
        training=None,
        inputs_mask=None,
        encoder_outputs_mask=None,
        **routing_inputs,
    ):
        padding_mask = join_masks(padding_mask, inputs_mask)
        encoder_padding_mask = join_masks(
            encoder_padding_mask, encoder_outputs_mask
        )
        inputs = clean_padding(inputs, padding_mask)
        encoder_outputs = clean_padding(encoder_outputs, encoder_padding_mask)
        positions = ops.arange(ops.shape(inputs)[1], dtype="int32")
        visible = causal_mask(positions, positions, padding_mask)

        def attend(attention, x):
            keys_values = attention.project_keys_values(x)
            return attention.attend(
                x, keys_values, position_bias, visible, training
            )

        x = self.add(inputs, "self_attention", attend, training)
        return self._look_and_feed(
            x,
            self.cross_attention.project_keys_values(encoder_outputs),
            padding_mask,
            encoder_padding_mask,
            training,
            routing_inputs,
        )

    def compute_output_shape(self, inputs_shape, encoder_outputs_shape=None):
        return tuple(inputs_shape)

    def call_with_cache(
        self,
        inputs,
        self_attention_cache,
        cross_attention_cache,
        cache_update_index,
        position_bias=None,
        padding_mask=None,
        encoder_padding_mask=None,
        **routing_inputs,
    ):
        """Continue sequences whose earlier keys and values are cached.

        Args:
            inputs: tensor of shape (B, Lq, H), the new positions.
            self_attention_cache: keys and values, two tensors of shape
                (B, L, N, D).
            cross_attention_cache: keys and values of the encoder outputs, two
                tensors of shape (B, Lk, N, D) from
                `cross_attention.project_keys_values`.
            cache_update_index: int or int32 scalar, position of the first
                new token; or one for each row, an int32 tensor of shape (B,).
            position_bias: optional tensor of shape (1, N, Lq, L) or
                (B, N, Lq, L).
            padding_mask: optional bool tensor of shape (B, Lq) for the
                feed-forward layer; True = real token.
            encoder_padding_mask: optional bool tensor of shape (B, Lk).
            **routing_inputs: as for a call.

        Returns:
            Outputs of shape (B, Lq, H), and the updated
            `self_attention_cache`.
        """
        positions = positions_from(cache_update_index, ops.shape(inputs)[1])
        length = ops.shape(self_attention_cache[0])[1]
        visible = causal_mask(positions, ops.arange(length, dtype="int32"))
        cache = self_attention_cache

        def attend(attention, x):
            nonlocal cache
            update = attention.project_keys_values(x)
            cache = tuple(
                write_slice(cached, new, cache_update_index, axis=1)
                for cached, new in zip(cache, update, strict=True)
            )
            return attention.attend(x, cache, position_bias, visible, False)

        x = self.add(inputs, "self_attention", attend, training=False)
        outputs = self._look_and_feed(
            x,
            cross_attention_cache,
            padding_mask,
            encoder_padding_mask,
            training=False,
            routing_inputs=routing_inputs,
        )
        return outputs, cache

    def _look_and_feed(
        self,
        x,
        encoder_keys_values,
        padding_mask,
        encoder_padding_mask,
        training,
        routing_inputs,
    ):
        """Look at the encoder's outputs, then feed forward."""
        visible = encoder_padding_mask
        if visible is not None:
            visible = ops.expand_dims(visible, 1)

        def attend(attention, x):
            return attention.attend(
                x,
                encoder_keys_values,
                attention_mask=visible,
                training=training,
            )

        x = self.add(x, "cross_attention", attend, training)
        return self._feed(x, padding_mask, training, routing_inputs)
