"""Layers that are built without memory. The one file that sets `_initializer`.

Keras has no public way to make a layer for its variables' shapes alone. In a
`keras.StatelessScope` a variable notes its shape and gets no value, but Keras
remembers it, and fills it when the next scope of any other model ends: 93 GB
for Mixtral. Its initializer is the only thing that decides how much that is.
"""

import keras


def build_unfilled(make):
    """Make layers whose variables have shapes and no values, now or later.

    Args:
        make: function without arguments that returns a built
            `keras.layers.Layer`.

    Returns:
        The layer. It cannot be called.

    Example:

    >>> def make():
    ...     layer = keras.layers.Dense(1000)
    ...     layer.build((None, 1000))
    ...     return layer
    >>> tuple(build_unfilled(make).kernel.shape)
    (1000, 1000)
    """
    with keras.StatelessScope(initialize_variables=False):
        layer = make()
    for variable in layer.variables:
        variable._initializer = _one_number
        # For a distribution: there will never be anything to divide.
        variable.is_unfilled = True
    return layer


def _one_number(shape, dtype=None):
    return keras.ops.zeros((), dtype=dtype)
