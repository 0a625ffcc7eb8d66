"""Relative position bias: a learned number per head and distance bucket."""

import math

import keras
import numpy as np
from keras import ops

from keras_moe.blocks.positions import positions_from
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.widen import int32


def bucket_relative_positions(max_distance, num_buckets, bidirectional):
    """Assign a bucket to every relative position up to `max_distance`.

    Half of the buckets hold one distance each; the others grow
    logarithmically and the last one also takes everything farther away
    (T5, https://arxiv.org/abs/1910.10683, section 2.1; the bucket formula is
    that of its published code). With `bidirectional`, keys after the query
    have buckets of their own; without it they share bucket 0, because a
    causal mask hides them.

    Computed in NumPy as a table, so that every backend takes the same bucket
    at the boundaries, where float32 logarithms would disagree.

    Args:
        max_distance: int, distance in tokens from which all positions share
            the last bucket.
        num_buckets: int, number of buckets.
        bidirectional: bool, whether keys after the query are visible.

    Returns:
        int32 array of shape (2 * max_distance + 1,): the bucket of
        `key position - query position` = -max_distance .. max_distance.

    Example:

    >>> bucket_relative_positions(8, 4, bidirectional=False).tolist()[:9]
    [3, 3, 3, 3, 3, 2, 2, 1, 0]
    """
    per_side = num_buckets // 2 if bidirectional else num_buckets
    exact = per_side // 2
    growth = (max_distance / exact) ** (1.0 / (per_side - exact))
    # The first distance of each logarithmic bucket. 1e-9 absorbs the rounding
    # of powers that are whole numbers.
    bounds = [
        math.ceil(exact * growth**i - 1e-9) for i in range(1, per_side - exact)
    ]
    relative_positions = np.arange(-max_distance, max_distance + 1)
    distances = np.abs(relative_positions)
    buckets = np.where(
        distances < exact,
        distances,
        exact + np.searchsorted(bounds, distances, side="right"),
    )
    after = relative_positions > 0
    buckets = np.where(
        after, buckets + per_side if bidirectional else 0, buckets
    )
    return buckets.astype("int32")


@keras.saving.register_keras_serializable(package="keras_moe")
class RelativePositionBias(keras.layers.Layer):
    """Compute the bias that relative positions add to attention scores.

    One stack of blocks computes it once and every block of the stack adds it
    to its scores.

    Args:
        num_heads: int N, number of attention heads.
        num_buckets: int, number of distance buckets.
        max_distance: int, distance in tokens from which all positions share
            one bucket.
        bidirectional: bool. `True` for encoders; `False` for causal
            decoders, where keys after the query are hidden.
        embeddings_initializer: initializer of the `embeddings`, a weight of
            shape (num_buckets, N).
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        queries: tensor whose axis 1 is the query length Lq; only its shape
            is read.
        keys: tensor whose axis 1 is the key length Lk; only its shape is
            read.
        start_index: int or int32 scalar, position of the first query; or one
            for each row, an int32 tensor of shape (B,). The first key is
            always at position 0.

    Returns:
        Tensor of shape (1, N, Lq, Lk) in the compute dtype, or (B, N, Lq, Lk)
        with a start for each row.

    Raises:
        ValueError: If there are too few buckets for the distance.

    Example:

    >>> import numpy as np
    >>> x = np.zeros((2, 5, 8), "float32")
    >>> layer = RelativePositionBias(num_heads=4)
    >>> tuple(layer(x, x).shape)
    (1, 4, 5, 5)

    References:
        Raffel et al., 2019, https://arxiv.org/abs/1910.10683, section 2.1.
    """

    @plain_numbers
    def __init__(
        self,
        num_heads,
        num_buckets=32,
        max_distance=128,
        bidirectional=True,
        embeddings_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        smallest = 4 if bidirectional else 2
        per_side = num_buckets // 2 if bidirectional else num_buckets
        if num_buckets < smallest or max_distance <= per_side // 2:
            raise ValueError(
                f"Expected num_buckets >= {smallest} and max_distance > "
                f"{per_side // 2}, the number of exact buckets. Received: "
                f"num_buckets={num_buckets}, max_distance={max_distance}. "
                "Use fewer buckets or a larger distance."
            )
        self.num_heads = num_heads
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.embeddings_initializer = keras.initializers.get(
            embeddings_initializer
        )
        self._buckets = bucket_relative_positions(
            max_distance, num_buckets, bidirectional
        )

    def build(self, queries_shape, keys_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_buckets, self.num_heads),
            initializer=self.embeddings_initializer,
        )
        self.built = True

    def call(self, queries, keys, start_index=0):
        query_positions = positions_from(
            ops.cast(start_index, "int32"), ops.shape(queries)[1]
        )
        key_positions = ops.arange(ops.shape(keys)[1], dtype="int32")
        relative = key_positions[None, :] - ops.expand_dims(query_positions, -1)
        limit = int32(self.max_distance)
        relative = ops.maximum(ops.minimum(relative, limit), -limit)
        buckets = ops.take(self._buckets, relative + self.max_distance)
        bias = ops.take(self.embeddings, buckets, axis=0)  # (..., Lq, Lk, N)
        if len(bias.shape) == 3:
            return ops.transpose(bias, (2, 0, 1))[None]
        return ops.transpose(bias, (0, 3, 1, 2))

    def compute_mask(self, queries, previous_mask):
        return None  # The bias belongs to no token.

    def compute_output_shape(self, queries_shape, keys_shape):
        return (1, self.num_heads, queries_shape[1], keys_shape[1])

    def get_config(self):
        config = super().get_config()
        config.update(
            num_heads=self.num_heads,
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
            bidirectional=self.bidirectional,
            embeddings_initializer=keras.initializers.serialize(
                self.embeddings_initializer
            ),
        )
        return config
