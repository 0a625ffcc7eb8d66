"""What T5's encoder and decoder blocks share."""

import itertools

from keras_moe.blocks.feed_forward_part import taken_by
from keras_moe.blocks.residual_block import ResidualBlock
from keras_moe.blocks.t5_attention import T5Attention
from keras_moe.blocks.t5_feed_forward_block import T5FeedForwardBlock
from keras_moe.layers.sublayers import revive_sublayers
from keras_moe.layers.sublayers import serialize_sublayer
from keras_moe.ops.plain_numbers import plain_numbers


class T5Block(ResidualBlock):
    """One or two attentions, then one or two feed-forward blocks.

    Not used by itself: `T5EncoderBlock` and `T5DecoderBlock` name their
    attentions and say what a call does.

    Args:
        num_heads: int N, number of attention heads.
        head_dim: int D, width of each head.
        feed_forward: layer from (B, L, H) to (B, L, H), dense or sparse.
        dropout: float, share of attention weights and outputs to drop.
        layer_norm_epsilon: float, added to the mean square.
        extra_feed_forward: optional layer of the same kind, in a block of its
            own after the first.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    attentions: tuple = ()
    dropout_name = "attention_dropout"

    @plain_numbers
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
        super().__init__(dropout, layer_norm_epsilon, **kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.add_parts(
            **{name: self._attention(name) for name in self.attentions}
        )
        self.feed_forward_block = self._feed_forward_block(
            feed_forward, "feed_forward_block"
        )
        self.extra_feed_forward_block = None
        if extra_feed_forward is not None:
            self.extra_feed_forward_block = self._feed_forward_block(
                extra_feed_forward, "extra_feed_forward_block"
            )

    def _attention(self, name):
        return T5Attention(
            self.num_heads,
            self.head_dim,
            dropout=self.dropout,
            dtype=self.dtype_policy,
            name=name,
        )

    def _feed_forward_block(self, feed_forward, name):
        return T5FeedForwardBlock(
            feed_forward,
            dropout=self.dropout,
            layer_norm_epsilon=self.layer_norm_epsilon,
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, inputs_shape):
        super().build(inputs_shape)
        for block in self._feed_forward_blocks():
            block.build(inputs_shape)
        self.built = True

    @property
    def routing_inputs(self):
        """tuple of str: what the routers want besides the inputs."""
        names = [block.routing_inputs for block in self._feed_forward_blocks()]
        return tuple(dict.fromkeys(itertools.chain(*names)))

    def _feed_forward_blocks(self):
        blocks = (self.feed_forward_block, self.extra_feed_forward_block)
        return [block for block in blocks if block is not None]

    def _feed(self, x, padding_mask, training, routing_inputs):
        for block in self._feed_forward_blocks():
            x = block(
                x,
                padding_mask=padding_mask,
                training=training,
                **taken_by(block, routing_inputs),
            )
        return x

    def get_config(self):
        config = super().get_config()
        extra = self.extra_feed_forward_block
        config.update(
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            feed_forward=serialize_sublayer(
                self.feed_forward_block.feed_forward
            ),
            dropout=self.dropout,
            layer_norm_epsilon=self.layer_norm_epsilon,
            extra_feed_forward=extra and serialize_sublayer(extra.feed_forward),
        )
        return config

    @classmethod
    def from_config(cls, config):
        parts = ("feed_forward", "extra_feed_forward")
        return cls(**revive_sublayers(config, *parts))
