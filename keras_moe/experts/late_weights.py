"""Weights that a built layer gets later. The one file that unlocks layers.

Keras' own `enable_lora` does the same with `Layer._tracker`; there is no public
way (Keras 3.15).
"""

import contextlib


@contextlib.contextmanager
def late_weights(layer):
    """Allow `add_weight` on a layer that is built.

    Args:
        layer: built `keras.layers.Layer`.

    Example:

    >>> import keras
    >>> layer = keras.layers.Dense(2)
    >>> layer.build((None, 3))
    >>> with late_weights(layer):
    ...     late = layer.add_weight(name="late", shape=(2,))
    >>> len(layer.weights)
    3
    """
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()
