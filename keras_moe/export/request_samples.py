"""Random requests for a signature.

Imports NumPy alone: the process that runs a SavedModel without Keras loads
this file by its path.
"""

from typing import NamedTuple

import numpy as np

# What is tried of the options of text generation. Any other optional input
# keeps its default.
OPTIONS = {
    "max_new_tokens": (3, 1, 4),
    "temperature": (0.0, 0.7, 1.5),
    "top_k": (0, 3, 5),
    "top_p": (1.0, 0.8),
    "seed": (0, 7, 2**31 - 1),
}
# The default is more than a check needs.
SHORTENED = ("max_new_tokens",)
LONGEST_TEXT = 9


class RequestInput(NamedTuple):
    """What a request says of one input.

    Attributes:
        name: string.
        shape: tuple of ints and `None`s.
        dtype: a NumPy dtype; `object` for text.
        optional: bool, whether a request may leave it out.
    """

    name: str
    shape: tuple
    dtype: np.dtype
    optional: bool = False


def draw_requests(inputs, batch_shapes, integer_bound, seed):
    """Draw one request for each tuple of sizes.

    The first leaves out every input that has a default, but for the number of
    tokens to generate, which is small. The others name those in `OPTIONS`, so
    that rows of one batch ask for different things.

    Args:
        inputs: list of `RequestInput`.
        batch_shapes: list of tuples of ints, the values for the open sizes of
            every input, first to last.
        integer_bound: int, the number that integers stay below.
        seed: int.

    Returns:
        A list of dicts from input name to array.

    Raises:
        ValueError: if a tuple is too short for an input, or an input is text
            other than a `prompt`.
    """
    generator = np.random.default_rng(seed)
    requests = []
    for number, sizes in enumerate(batch_shapes):
        named = tuple(OPTIONS) if number else SHORTENED
        requests.append(
            {
                each.name: _draw(each, sizes, integer_bound, generator)
                for each in sorted(inputs)
                if not each.optional or each.name in named
            }
        )
    return requests


def draw_input(name, shape, dtype, integer_bound, generator):
    """Draw one random input.

    Args:
        name: string; a name that ends in `mask` asks for a padding mask, with
            1 for the real tokens at the beginning of each row.
        shape: tuple of ints.
        dtype: a NumPy dtype.
        integer_bound: int, the number that integers stay below.
        generator: a `numpy.random.Generator`.

    Returns:
        An array.
    """
    if name.endswith("mask") and len(shape) > 1:
        # Longer and shorter rows, the first one full, none of them empty.
        lengths = generator.integers(1, shape[-1] + 1, size=shape[:-1])
        lengths.flat[0] = shape[-1]
        return (np.arange(shape[-1]) < lengths[..., None]).astype(dtype)
    if name == "prompt":
        texts = [
            bytes(generator.integers(97, 123, size=length, dtype="uint8"))
            for length in generator.integers(1, LONGEST_TEXT + 1, size=shape)
        ]
        return np.array(texts)
    if np.issubdtype(dtype, np.bool_):
        return generator.integers(0, 2, size=shape).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return generator.integers(0, integer_bound, size=shape).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    raise ValueError(
        f"Expected an input of numbers to draw samples for {name!r}. "
        f"Received: dtype={dtype}. Pass samples."
    )


def _draw(described, sizes, integer_bound, generator):
    """Draw one input of a request with these sizes."""
    name, shape, dtype, optional = described
    shape = fill_shape(name, shape, sizes)
    if optional and name in OPTIONS:
        return np.resize(OPTIONS[name], shape).astype(dtype)
    return draw_input(name, shape, dtype, integer_bound, generator)


def fill_shape(name, shape, sizes):
    """Replace the open sizes of a shape, first to last.

    Args:
        name: string, of the input.
        shape: tuple of ints and `None`s.
        sizes: iterable of ints.

    Returns:
        A tuple of ints.

    Raises:
        ValueError: if there are more open sizes than `sizes`.
    """
    remaining = iter(sizes)
    filled = [next(remaining, None) if x is None else x for x in shape]
    if None in filled:
        raise ValueError(
            "Expected every tuple in batch_shapes to have a size for each "
            f"open size of an input. Received: {tuple(sizes)} for {name!r} of "
            f"shape {tuple(shape)}. Add the missing sizes."
        )
    return tuple(filled)
