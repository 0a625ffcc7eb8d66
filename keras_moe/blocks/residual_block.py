"""A block of a Transformer: parts behind a norm and a residual each."""

import itertools
from typing import Any
from typing import NamedTuple

import keras
from keras import ops

from keras_moe.blocks.norms import make_norm
from keras_moe.layers.sublayers import build_sublayer


class ResidualPart(NamedTuple):
    """What adds `output_norm(layer(norm(x)))` to its inputs.

    Attributes:
        norm: of the inputs.
        layer: attention or feed-forward layer.
        output_norm: of the outputs, or `None` (Grok-1 has one).
    """

    norm: Any
    layer: Any
    output_norm: Any = None


class ResidualBlock(keras.layers.Layer):
    """Parts, one after the other, each behind a norm and a residual.

    Not used by itself: a subclass names its parts with `add_parts` and calls
    them with `add`. A part `"attention"` is the attribute `attention`, its
    norms are `attention_norm` and `attention_output_norm`.

    Args:
        dropout: float, on the parts' outputs while training.
        layer_norm_epsilon: float, of the norms.
        norm: kind of norm, as for `make_norm`.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    norm_name = "{}_norm"
    dropout_name = "residual_dropout"

    def __init__(self, dropout, layer_norm_epsilon, norm="rms", **kwargs):
        super().__init__(**kwargs)
        self.dropout = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.norm_kind = norm
        self.supports_masking = True
        self._part_names: tuple[str, ...] = ()

    def add_parts(self, output_norms=(), **layers):
        """Make the block's parts.

        Args:
            output_norms: names of parts whose outputs pass a norm of their
                own.
            **layers: the parts by name, in their order.
        """
        self._part_names = (*layers,)
        for name, layer in layers.items():
            setattr(self, name, layer)
        # Under a RematScope, attention and feed-forward are recomputed; the
        # cheap parts, and the dropout's random state, are not.
        with keras.RematScope(mode=None):
            for name in layers:
                self._make_norm(self.norm_name.format(name))
            for part in output_norms:
                self._make_norm(f"{part}_output_norm")
            dropout = keras.layers.Dropout(
                self.dropout, dtype=self.dtype_policy, name=self.dropout_name
            )
            setattr(self, self.dropout_name, dropout)

    def part(self, name):
        """Return a part.

        Args:
            name: str.

        Returns:
            `ResidualPart`.
        """
        return ResidualPart(
            getattr(self, self.norm_name.format(name)),
            getattr(self, name),
            getattr(self, f"{name}_output_norm", None),
        )

    def add(self, x, name, call, training=None):
        """Add a part's outputs to its inputs.

        Args:
            x: float tensor of shape (B, L, H).
            name: str, the part.
            call: function of the part's layer and the normalized inputs that
                returns the outputs.
            training: bool, whether to drop some of them.

        Returns:
            Tensor of shape (B, L, H).
        """
        part = self.part(name)
        outputs = call(part.layer, part.norm(x))
        if part.output_norm is not None:
            outputs = part.output_norm(outputs)
        return x + self._drop(outputs, training)

    @property
    def routing_inputs(self):
        """tuple of str: what the parts' routers want besides the inputs."""
        layers = [self.part(name).layer for name in self._part_names]
        names = [getattr(each, "routing_inputs", ()) for each in layers]
        return tuple(dict.fromkeys(itertools.chain(*names)))

    def build(self, inputs_shape):
        for name in self._part_names:
            for layer in self.part(name):
                if layer is not None:
                    build_sublayer(layer, inputs_shape)

    def _make_norm(self, name):
        norm = make_norm(
            self.norm_kind, self.layer_norm_epsilon, self.dtype_policy, name
        )
        setattr(self, name, norm)

    def _drop(self, x, training):
        # Without compilation, a layer that does nothing still takes time.
        if self.dropout:
            return getattr(self, self.dropout_name)(x, training=training)
        # A part may have another dtype policy than its block.
        same = keras.backend.standardize_dtype(x.dtype) == self.compute_dtype
        return x if same else ops.cast(x, self.compute_dtype)

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # The parts rematerialize themselves; routing must not run twice.
        return layer_call

    def compute_output_shape(self, inputs_shape):
        return tuple(inputs_shape)
