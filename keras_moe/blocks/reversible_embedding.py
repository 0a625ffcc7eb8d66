"""Vectors of tokens, and scores of all tokens."""

import keras

from keras_moe.distribution.tensor_parallel import share_rows
from keras_moe.distribution.tensor_parallel import split_features
from keras_moe.distribution.tensor_parallel import split_rows
from keras_moe.distribution.tensor_parallel import split_table
from keras_moe.distribution.tensor_parallel import split_weights
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class ReversibleEmbedding(keras.layers.ReversibleEmbedding):
    """A `keras.layers.ReversibleEmbedding` that devices can share.

    Under `ExpertParallel(shard="tensor")` each device of the expert axis
    holds some tokens of the vocabulary, and computes their scores. It has the
    name of Keras' own, by which files of models find its weights.

    Args:
        input_dim: int V, tokens of the vocabulary.
        output_dim: int H.
        tie_weights: bool, whether scores are computed with the same matrix.
        **kwargs: as for `keras.layers.ReversibleEmbedding`.

    Call arguments:
        inputs: ints of shape (B, L); with `reverse` a float tensor of shape
            (B, L, H).
        reverse: bool, whether to score all tokens.

    Returns:
        Tensor of shape (B, L, H); with `reverse` of shape (B, L, V).

    Example:

    >>> import numpy as np
    >>> layer = ReversibleEmbedding(100, 16)
    >>> tuple(layer(layer(np.array([[3, 1, 4]])), reverse=True).shape)
    (1, 3, 100)
    """

    @plain_numbers
    def __init__(self, input_dim, output_dim, tie_weights=True, **kwargs):
        super().__init__(input_dim, output_dim, tie_weights, **kwargs)

    def build(self, input_shape=None):
        with split_weights(self, embeddings=0, reverse_embeddings=1):
            super().build(input_shape)

    @property
    def embeddings(self):
        return split_table(super().embeddings)

    def call(self, inputs, reverse=False):
        inputs = share_rows(inputs, self.input_dim)
        if not reverse:
            return split_rows(super().call(inputs), self.input_dim)
        return split_features(super().call(inputs, reverse=True), -1)

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras quantizes classes of its own alone, unless it is told.
        super().quantize(mode, type_check=False, config=config)
