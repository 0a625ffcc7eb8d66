"""Random batches to trace a model with and to check its files with."""

import numpy as np

from keras_moe.export.request_samples import draw_input
from keras_moe.export.request_samples import fill_shape

# Inputs of one sequence, such as `encoder_token_ids` and
# `encoder_padding_mask`, are equally long.
SEQUENCE_INPUTS = ("token_ids", "padding_mask")


def fill_shapes(inputs, sizes):
    """Choose a size for every open axis.

    The second sequence of a model is one longer than the first, so that a
    file that mistakes one length for the other is found out.

    Args:
        inputs: list of `keras_moe.export.model_inputs.ModelInput`.
        sizes: tuple of ints, for the open axes of each input, first to last.

    Returns:
        A dict from input name to shape.

    Raises:
        ValueError: if an input has more open axes than there are sizes.

    Example:

    >>> from keras_moe.export.model_inputs import ModelInput
    >>> shape = (None, None)
    >>> names = ("encoder_token_ids", "decoder_token_ids")
    >>> fill_shapes([ModelInput(x, shape, "int32") for x in names], (2, 5))
    {'encoder_token_ids': (2, 5), 'decoder_token_ids': (2, 6)}
    """
    sequences: list[str] = []
    shapes = {}
    for each in inputs:
        sequence = _sequence(each.name)
        if sequence not in sequences:
            sequences.append(sequence)
        longer = sequences.index(sequence)
        own = (sizes[0], *(size + longer for size in sizes[1:]))
        shapes[each.name] = fill_shape(each.name, each.shape, own)
    return shapes


def draw_samples(inputs, batch_shapes, integer_bound, seed):
    """Draw one random batch for each tuple of sizes.

    Args:
        inputs: list of `keras_moe.export.model_inputs.ModelInput`.
        batch_shapes: tuple of tuples of ints, as for `fill_shapes`.
        integer_bound: int, the number that integers stay below.
        seed: int.

    Returns:
        A list of dicts from input name to array. Padding masks are ragged.
    """
    generator = np.random.default_rng(seed)
    dtypes = {each.name: np.dtype(each.dtype) for each in inputs}
    return [
        {
            name: draw_input(
                name, shape, dtypes[name], integer_bound, generator
            )
            for name, shape in fill_shapes(inputs, sizes).items()
        }
        for sizes in batch_shapes
    ]


def _sequence(name):
    """Return what the inputs of one sequence have in common."""
    for ending in SEQUENCE_INPUTS:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return ""
