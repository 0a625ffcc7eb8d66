"""Losses of a call that replicas interrupt. The one file with `_losses`.

The replicas of a `MirroredStrategy` are threads that share the layers. Where
they meet, in the middle of a call, the others run up to the same place, and
Keras forgets the losses that this one has added, and keeps theirs. Keras has
no public way to take a layer's own losses away or bring them back.
"""

import contextlib
import sys
from types import FrameType

import keras

from keras_moe.ops.all_layers import all_layers


@contextlib.contextmanager
def losses_of_callers():
    """Keep the losses of the running model as they are.

    What other threads add or clear meanwhile is theirs: they keep it in the
    same way.
    """
    layers = all_layers(root) if (root := _outermost_layer()) else []
    kept = [(layer, layer._losses[:]) for layer in layers]
    try:
        yield
    finally:
        for layer, losses in kept:
            layer._losses[:] = losses


def _outermost_layer():
    outermost = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.layers.Layer):
            outermost = caller
        frame = frame.f_back
    return outermost
