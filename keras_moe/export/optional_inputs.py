"""Inputs that a request may leave out, and what stands in for them."""

import inspect

import numpy as np


def with_defaults(inputs, defaults):
    """Give inputs the values that stand in for them.

    Args:
        inputs: tuple of `ModelInput`.
        defaults: dict from input name to array or nested list.

    Returns:
        A tuple of `ModelInput`.

    Raises:
        ValueError: if a name is unknown or a value does not fit its input.
    """
    known = {x.name: x for x in inputs}
    if not isinstance(defaults, dict) or not {*defaults} <= {*known}:
        raise ValueError(
            "Expected defaults to be a dict from names among "
            f"{sorted(known)} to values. Received: {defaults!r}. "
            'Write for example {"temperature": [0.0]}.'
        )
    return tuple(
        x._replace(default=_fit(x, defaults[x.name]))
        if x.name in defaults
        else x
        for x in inputs
    )


def by_name(function, inputs):
    """Turn a function of a dict of tensors into one of named arguments.

    TensorFlow writes the defaults of arguments into the signature of a
    SavedModel (`SignatureDef.defaults`), where servers look for them.

    Args:
        function: from a dict of tensors, by name, to tensors.
        inputs: tuple of `ModelInput`.

    Returns:
        The function, and the inputs in the order of its arguments.
    """
    import tensorflow as tf

    # Python wants arguments without a default first.
    ordered = sorted(inputs, key=lambda x: x.default is not None)
    signature = inspect.Signature(
        [
            inspect.Parameter(
                x.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty
                if x.default is None
                else tf.constant(x.default, x.dtype),
            )
            for x in ordered
        ]
    )

    def answer(*args, **kwargs):
        return function(signature.bind(*args, **kwargs).arguments)

    answer.__signature__ = signature  # type: ignore[attr-defined]
    return answer, ordered


def _fit(described, value):
    """Return a default as a nested list, if its input can take it."""
    array = np.asarray(value)
    shape = described.shape
    fits = array.ndim == len(shape) and all(
        size in (None, found)
        for size, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.size == 0:
        raise ValueError(
            f"Expected the default of input {described.name!r} to fit its "
            f"shape {shape}. Received: {value!r} of shape {array.shape}. An "
            "open size may be 1; the function broadcasts it."
        )
    return array.tolist()
