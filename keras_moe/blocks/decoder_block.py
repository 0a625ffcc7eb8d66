"""One layer of a decoder-only Transformer."""

import keras

from keras_moe.blocks.feed_forward_part import call_feed_forward
from keras_moe.blocks.residual_block import ResidualBlock
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.padding import join_masks


@keras.saving.register_keras_serializable(package="keras_moe")
class DecoderBlock(ResidualBlock):
    """Attention and feed-forward, each behind a norm and a residual.

    `x + attention(norm(x))`, then `x + feed_forward(norm(x))`. The parts are
    given, so a dense and a sparse block differ in one argument.

    Args:
        attention: layer called as `attention(x, padding_mask=...)`, and with
            `cache` and `cache_update_index` while generating.
        feed_forward: layer called as `feed_forward(x)`; it is given the
            padding mask if it has an argument `padding_mask` (`SparseMoE`)
            or supports Keras' `mask`.
        layer_norm_epsilon: float, of the norms.
        norm: kind of norm, as for `make_norm`.
        sandwich_norms: bool, whether the outputs of both parts pass a norm
            of their own before they are added (Grok-1).
        extra_feed_forward: optional layer, a third part behind its own norm
            and residual (the dense block after OpenMoE's experts).
        dropout: float, on the parts' outputs while training.

    Call arguments:
        inputs: float tensor of shape (B, L, H).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
            A Keras mask that comes with the inputs is used as well.
        cache: optional, as for the attention.
        cache_update_index: int or scalar tensor, position of the first input;
            or one for each row, an int32 tensor of shape (B,).
        training: bool.
        **routing_inputs: what the router wants besides, such as token ids.

    Returns:
        Tensor of shape (B, L, H); with a cache, the pair of that and the new
        cache.

    Example:

    >>> import numpy as np
    >>> from keras_moe.blocks import GroupedQueryAttention
    >>> from keras_moe.layers import SparseMoE
    >>> block = DecoderBlock(GroupedQueryAttention(4, 2), SparseMoE(8, 32))
    >>> tuple(block(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)
    """

    @plain_numbers
    def __init__(
        self,
        attention,
        feed_forward,
        layer_norm_epsilon=1e-6,
        dropout=0.0,
        norm="rms",
        sandwich_norms=False,
        extra_feed_forward=None,
        **kwargs,
    ):
        super().__init__(dropout, layer_norm_epsilon, norm, **kwargs)
        self.norm = norm
        self.sandwich_norms = sandwich_norms
        self.extra_feed_forward = None
        extra = {"extra_feed_forward": extra_feed_forward}
        self.add_parts(
            ("attention", "feed_forward") if sandwich_norms else (),
            attention=attention,
            feed_forward=feed_forward,
            **(extra if extra_feed_forward is not None else {}),
        )

    def build(self, inputs_shape, padding_mask_shape=None):
        super().build(inputs_shape)

    def call(
        self,
        inputs,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        training=None,
        mask=None,
        inputs_mask=None,
        **routing_inputs,
    ):
        padding_mask = join_masks(padding_mask, mask, inputs_mask)
        if cache is None:
            inputs = clean_padding(inputs, padding_mask)
        new_cache = None

        def attend(attention, x):
            nonlocal new_cache
            outputs = attention(
                x,
                padding_mask=padding_mask if cache is None else None,
                cache=cache,
                cache_update_index=cache_update_index,
            )
            if cache is not None:
                outputs, new_cache = outputs
            return outputs

        def feed(layer, x):
            return call_feed_forward(
                layer, x, padding_mask, training, **routing_inputs
            )

        x = self.add(inputs, "attention", attend, training)
        x = self.add(x, "feed_forward", feed, training)
        if self.extra_feed_forward is not None:
            x = self.add(x, "extra_feed_forward", feed, training)
        return x if cache is None else (x, new_cache)

    def compute_output_shape(self, inputs_shape, padding_mask_shape=None):
        return inputs_shape

    def get_config(self):
        return {
            **super().get_config(),
            "attention": serialize_sublayer(self.attention),
            "feed_forward": serialize_sublayer(self.feed_forward),
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "dropout": self.dropout,
            "norm": self.norm,
            "sandwich_norms": self.sandwich_norms,
            "extra_feed_forward": serialize_sublayer(self.extra_feed_forward),
        }

    @classmethod
    def from_config(cls, config):
        parts = ("attention", "feed_forward", "extra_feed_forward")
        return cls(**revive_sublayers(config, *parts))
