"""NumPy's numbers among a constructor's arguments."""

import functools
import inspect

import numpy as np


def plain_numbers(constructor):
    """Turn NumPy's numbers among the arguments into Python's.

    NumPy's have a width, which changes the dtype of what is computed with
    them, and JSON does not take them: a configuration could not be saved.

    Args:
        constructor: an `__init__`.

    Returns:
        The `__init__` that converts, also inside lists and dictionaries.

    Example:

    >>> class Layer:
    ...     @plain_numbers
    ...     def __init__(self, num_experts, rates=()):
    ...         self.num_experts, self.rates = num_experts, rates
    >>> layer = Layer(np.int64(8), rates=[np.float32(0.5)])
    >>> layer.num_experts, layer.rates
    (8, [0.5])
    """

    @functools.wraps(constructor)
    def convert(self, *args, **kwargs):
        constructor(self, *to_plain(args), **to_plain(kwargs))

    # Keras reads an operation's arguments without following wrappers.
    signature = inspect.signature(constructor)
    convert.__signature__ = signature  # type: ignore[attr-defined]
    return convert


def to_plain(value):
    """Turn NumPy's numbers into Python's, in nested lists and dictionaries.

    Args:
        value: anything; arrays with an axis and objects stay as they are.

    Returns:
        The same structure.

    Example:

    >>> to_plain({"shape": (np.int32(2), None)})
    {'shape': (2, None)}
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.item()
    if type(value) is dict:
        return {key: to_plain(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(to_plain(each) for each in value)
    if hasattr(value, "_fields"):  # A NamedTuple.
        return value._replace(**to_plain(value._asdict()))
    return value
