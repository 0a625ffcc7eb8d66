"""T5 feed-forward block: norm, feed-forward layer, dropout, residual."""

import keras

from keras_moe.blocks.feed_forward_part import call_feed_forward
from keras_moe.blocks.residual_block import ResidualBlock
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.padding import join_masks


@keras.saving.register_keras_serializable(package="keras_moe")
class T5FeedForwardBlock(ResidualBlock):
    """Add the output of a feed-forward layer to its normalized inputs.

    The feed-forward layer may be dense (`FeedForward`) or sparse
    (`SparseMoE`). Tokens that a sparse one drops get 0 from it, so the
    residual carries them unchanged.

    Args:
        feed_forward: layer from (B, L, H) to (B, L, H). If its `call` has an
            argument `padding_mask`, or it supports Keras' `mask`, it
            receives the mask.
        dropout: float, share of the feed-forward outputs to drop.
        layer_norm_epsilon: float, added to the mean square.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of shape (B, L, H).
        padding_mask: optional bool tensor of shape (B, L), True = real token.
            A Keras mask that comes with the inputs is used as well.
        training: bool, whether to apply dropout and training capacity.
        **routing_inputs: what the router wants besides, such as token ids.

    Returns:
        Tensor of shape (B, L, H).

    Example:

    >>> import keras
    >>> import numpy as np
    >>> block = T5FeedForwardBlock(keras.layers.Dense(8))
    >>> tuple(block(np.ones((2, 5, 8), "float32")).shape)
    (2, 5, 8)

    References:
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961, figure 2.
    """

    norm_name = "norm"
    dropout_name = "output_dropout"

    @plain_numbers
    def __init__(
        self, feed_forward, dropout=0.0, layer_norm_epsilon=1e-6, **kwargs
    ):
        super().__init__(dropout, layer_norm_epsilon, **kwargs)
        self.add_parts(feed_forward=feed_forward)

    def call(
        self,
        inputs,
        padding_mask=None,
        training=None,
        mask=None,
        inputs_mask=None,
        **routing_inputs,
    ):
        padding_mask = join_masks(padding_mask, mask, inputs_mask)

        def feed(layer, x):
            return call_feed_forward(
                layer, x, padding_mask, training, **routing_inputs
            )

        x = clean_padding(inputs, padding_mask)
        return self.add(x, "feed_forward", feed, training)

    def get_config(self):
        config = super().get_config()
        config.update(
            feed_forward=serialize_sublayer(self.feed_forward),
            dropout=self.dropout,
            layer_norm_epsilon=self.layer_norm_epsilon,
        )
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**revive_sublayers(config, "feed_forward"))
