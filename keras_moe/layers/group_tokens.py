"""From a layer's inputs to groups of tokens."""

import math

from keras import ops

from keras_moe.ops.padding import clean_padding
from keras_moe.routing.padding import join_masks
from keras_moe.routing.validation import check_padding_mask
from keras_moe.routing.validation import check_tokens


def group_tokens(inputs, *masks):
    """Reshape inputs to groups of tokens, and join all kinds of mask.

    A row of the batch is a group; inputs of rank 2 are a single one.

    Args:
        inputs: float tensor of shape (..., H), rank 2 or more.
        *masks: optional bool tensors of shape (...), True = real token.

    Returns:
        A pair: float tensor of shape (G, S, H), with finite padding; and a
        bool tensor of shape (G, S), or `None`.

    Raises:
        ValueError: If the inputs have rank 1 or no token, or a mask does not
            fit.

    Example:

    >>> import numpy as np
    >>> tokens, padding_mask = group_tokens(np.ones((2, 3, 5, 4)), None)
    >>> tuple(tokens.shape), padding_mask
    ((2, 15, 4), None)
    """
    check_tokens(inputs)
    for each in masks:
        if each is not None:
            check_padding_mask(each, inputs)
    padding_mask = join_masks(*masks)
    shape = ops.shape(inputs)
    grouped = (1, -1) if len(shape) == 2 else (shape[0], _size(shape[1:-1]))
    tokens = ops.reshape(inputs, (*grouped, shape[-1]))
    if padding_mask is None:
        return tokens, None
    padding_mask = ops.reshape(padding_mask, grouped)
    return clean_padding(tokens, padding_mask), padding_mask


def _size(dimensions):
    """Multiply dimensions; -1 if one is unknown and nothing else is."""
    return dimensions[0] if len(dimensions) == 1 else math.prod(dimensions)
