"""One layer of a Vision Transformer."""

import keras
from keras import ops

from keras_moe.blocks.feed_forward_part import call_feed_forward
from keras_moe.blocks.residual_block import ResidualBlock
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.ops.plain_numbers import plain_numbers

ROUTING_GROUPS = ("image", "batch")


@keras.saving.register_keras_serializable(package="keras_moe")
class VisionEncoderBlock(ResidualBlock):
    """Attention among all tokens, then a feed-forward layer.

    `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.

    Args:
        num_heads: int N, number of attention heads.
        head_dim: int D, width of each head.
        feed_forward: layer from (B, L, H) to (B, L, H), dense or sparse.
        routing_group: `"image"` or `"batch"`, which tokens compete for the
            slots of a sparse layer's experts. With `"batch"`, what an image
            gives depends on the others of its batch, where slots are short.
        dropout: float, on the parts' outputs while training.
        layer_norm_epsilon: float, of the norms.

    Call arguments:
        inputs: float tensor of shape (B, L, H).
        training: bool.

    Returns:
        Tensor of shape (B, L, H).

    Raises:
        ValueError: If `routing_group` is unknown.

    Example:

    >>> import numpy as np
    >>> from keras_moe.layers import SparseMoE
    >>> block = VisionEncoderBlock(2, 8, SparseMoE(4, 32))
    >>> tuple(block(np.ones((2, 5, 16), "float32")).shape)
    (2, 5, 16)

    References:
        Dosovitskiy et al., 2020, https://arxiv.org/abs/2010.11929, equations
        2 and 3.
    """

    @plain_numbers
    def __init__(
        self,
        num_heads,
        head_dim,
        feed_forward,
        routing_group="image",
        dropout=0.0,
        layer_norm_epsilon=1e-6,
        **kwargs,
    ):
        super().__init__(dropout, layer_norm_epsilon, "layer", **kwargs)
        if routing_group not in ROUTING_GROUPS:
            raise ValueError(
                f"Expected `routing_group` to be one of {ROUTING_GROUPS}. "
                f"Received: {routing_group!r}."
            )
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.routing_group = routing_group
        with keras.RematScope(mode=None):
            attention = keras.layers.MultiHeadAttention(
                num_heads, head_dim, dtype=self.dtype_policy, name="attention"
            )
        self.add_parts(attention=attention, feed_forward=feed_forward)

    def build(self, inputs_shape):
        # Under a RematScope the feed-forward layer alone is recomputed: Keras'
        # attention would be in another dtype the second time on PyTorch.
        with keras.RematScope(mode=None):
            if not self.attention.built:
                self.attention.build(inputs_shape, inputs_shape)
        super().build(inputs_shape)

    def call(self, inputs, training=None):
        def attend(attention, x):
            return attention(x, x, training=training)

        def feed(layer, x):
            tokens = x
            if self.routing_group == "batch":  # (B, L, H) -> (1, B * L, H)
                tokens = ops.reshape(x, (1, -1, x.shape[-1]))
            outputs = call_feed_forward(layer, tokens, training=training)
            return ops.reshape(outputs, (-1, *x.shape[1:]))

        x = self.add(inputs, "attention", attend, training)
        return self.add(x, "feed_forward", feed, training)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "feed_forward": serialize_sublayer(self.feed_forward),
            "routing_group": self.routing_group,
            "dropout": self.dropout,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**revive_sublayers(config, "feed_forward"))
