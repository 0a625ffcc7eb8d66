"""Layers whose weights and activations are split by heads or columns."""

import contextlib
import math
from contextvars import ContextVar
from types import MappingProxyType

import keras

from keras_moe.ops.mesh_axes import AXES
from keras_moe.ops.mesh_axes import DATA
from keras_moe.ops.mesh_axes import EXPERT

# Name of a weight -> its dimension, of the layer that is being built.
_dimensions: ContextVar = ContextVar(
    "_dimensions", default=MappingProxyType({})
)


@contextlib.contextmanager
def split_weights(layer, **dimensions):
    """Say how the weights are split that a layer makes inside.

    `ExpertParallel(shard="tensor")` splits them over the expert axis; without
    it nothing changes. A projection to heads or columns splits its outputs,
    and the projection that comes after them its inputs (Megatron-LM,
    https://arxiv.org/abs/1909.08053, section 3).

    Args:
        layer: `keras.layers.Layer` that is built inside, or calls
            `add_weight` itself.
        **dimensions: int for the name of a weight, the dimension that is
            split. Weights that are not named stay whole.

    Example:

    >>> layer = keras.layers.Dense(8)
    >>> with split_weights(layer, kernel=1, bias=0):
    ...     layer.build((None, 4))
    >>> split_dimension(layer.kernel), split_dimension(layer.bias)
    (1, 0)
    """
    # A distribution asks while a weight is made, or later if Keras defers its
    # first value.
    token = _dimensions.set(dimensions)
    try:
        yield
    finally:
        _dimensions.reset(token)
    for weight in layer.weights:
        weight.split_dimension = dimensions.get(weight.name)


def split_dimension(variable):
    """Return the dimension of a variable that heads or columns are in.

    Args:
        variable: `keras.Variable`.

    Returns:
        int, or `None` for a variable that is never split.
    """
    found = getattr(variable, "split_dimension", None)
    return _dimensions.get().get(variable.name) if found is None else found


def share_rows(tensor, num_parts):
    """Let the devices of an expert axis have the rows of all of them.

    Before a projection to heads or columns. Here and below nothing happens
    outside of `ExpertParallel(shard="tensor")` and of a compiled function, or
    where the devices cannot divide parts or rows.

    Args:
        tensor: of shape (B, ...), activations, or `None`.
        num_parts: int, how many heads or columns the layer has.

    Returns:
        The same numbers.

    Example:

    ```python
    class Columns(keras.layers.Layer):
        def build(self, inputs_shape):
            self.up = keras.layers.Dense(64, "relu")
            with split_weights(self.up, kernel=1, bias=0):
                self.up.build(inputs_shape)
            self.down = keras.layers.Dense(inputs_shape[-1], use_bias=False)
            with split_weights(self.down, kernel=0):
                self.down.build((*inputs_shape[:-1], 64))

        def call(self, inputs):
            columns = split_features(self.up(share_rows(inputs, 64)), -1)
            return split_rows(self.down(columns), 64)
    ```
    """
    return _lay_out(tensor, num_parts, {0: AXES}, {0: DATA})


def keep_rows(tensor):
    """Let each device compute of its own rows, before a weight that is whole.

    Args:
        tensor: of shape (B, ...), activations.

    Returns:
        The same numbers.
    """
    return _lay_out(tensor, 0, {0: AXES})


def split_rows(tensor, num_parts):
    """Give each device its own rows again, added up over the parts.

    Args:
        tensor: of shape (B, ...), what the projection from heads or columns
            returns.
        num_parts: int, how many heads or columns the layer has.

    Returns:
        The same numbers.

    Example: `share_rows` shows a layer.
    """
    # Its gradient is shared first, once for kernel and activations.
    return _lay_out(tensor, num_parts, {0: DATA}, {0: AXES})


def split_features(tensor, axis):
    """Let each device of an expert axis compute some heads or columns.

    Args:
        tensor: of shape (B, ...), activations.
        axis: int, the dimension of heads or columns.

    Returns:
        The same numbers; each device has all of its own rows, if the expert
        axis cannot divide the dimension.

    Example: `share_rows` shows a layer.
    """
    axis = axis % len(tensor.shape)
    features = _lay_out(tensor, tensor.shape[axis], {0: DATA, axis: EXPERT})
    return keep_rows(tensor) if features is tensor else features


def split_shared_heads(heads, num_query_heads):
    """Let each device of an expert axis have the heads that its queries share.

    A head that the queries of several devices share is copied to them.

    Args:
        heads: tensor of shape (B, M, X, D), keys or values.
        num_query_heads: int N.

    Returns:
        Tensor of shape (B, M', X, D), M' a multiple of M that divides N: M
        itself, if the expert axis divides it or does not divide N.
    """
    size = num_devices(num_query_heads)
    copies = size // math.gcd(size, heads.shape[1])
    if copies > 1:
        heads = share_rows(heads, num_query_heads)
        heads = keras.ops.repeat(heads, copies, axis=1)
    return split_features(heads, 1)


def split_table(table):
    """Let each device of an expert axis hold some tokens of the vocabulary.

    Args:
        table: variable or tensor of shape (V, H). Its layout says where the
            weight is; this one says it of the gradient too, which is
            scattered into zeros that might be anywhere.

    Returns:
        The same numbers, or `table`.
    """
    return _lay_out(table, table.shape[0], {0: EXPERT})


def _lay_out(tensor, num_parts, *layouts):
    """Lay a tensor out, then again; a dict has the axes of its dimensions."""
    if tensor is None or num_devices(num_parts) == 1:
        return tensor
    engine = keras.distribution.distribution().engine
    for axes in layouts:
        axes = [axes.get(i) for i in range(len(tensor.shape))]
        tensor = engine.lay_out(tensor, axes)
    return tensor


def num_devices(num_parts):
    """Tell among how many devices heads or columns are split.

    Args:
        num_parts: int, how many heads or columns a layer has.

    Returns:
        int, of the expert axis; 1 if it cannot divide them, or outside of
        `ExpertParallel(shard="tensor")`.
    """
    distribution = keras.distribution.distribution()
    if getattr(distribution, "shard", None) != "tensor":
        return 1
    size = distribution.axis_sizes[EXPERT]
    return 1 if num_parts % size else size
