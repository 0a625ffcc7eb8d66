"""Find which integers a model can take as token ids."""

import keras

from keras_moe.ops.all_layers import all_layers


def find_integer_bound(model):
    """Return the number that every integer input must stay below.

    It is the smallest of the model's `vocabulary_size`, its backbone's, and
    the sizes of its embeddings: an id within all of them suits every integer
    input, whichever embedding reads it.

    Args:
        model: a built `keras.Model`.

    Returns:
        An int, 1 or more; 2 for a model that tells nothing.

    Example:

    >>> import keras
    >>> from keras_moe.export.sample_bounds import find_integer_bound
    >>> token_ids = keras.Input((None,), dtype="int32")
    >>> outputs = keras.layers.Embedding(100, 8)(token_ids)
    >>> find_integer_bound(keras.Model(token_ids, outputs))
    100
    """
    owners = (model, getattr(model, "backbone", None))
    bounds = [getattr(owner, "vocabulary_size", None) for owner in owners]
    bounds += [
        layer.input_dim
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.Embedding)
    ]
    return min((x for x in bounds if isinstance(x, int) and x > 0), default=2)
