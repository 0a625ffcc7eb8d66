"""Variables with shapes and without memory."""

import keras
import numpy as np

from keras_moe.ops.unfilled_variables import build_unfilled

NUMBERS = 1000


def make():
    layer = keras.layers.Dense(NUMBERS)
    layer.build((None, NUMBERS))
    return layer


def test_keras_fills_no_more_than_one_number_of_each():
    """If this fails: Keras no longer calls a variable's `_initializer`.

    Look for a public way to build a layer for its shapes alone; otherwise see
    in `keras.Variable` what fills a variable that a `StatelessScope` left
    without a value, and change `keras_moe/ops/unfilled_variables.py`.
    """
    variable = keras.Variable([1.0], name="has_a_value")
    assert hasattr(variable, "_initializer")
    layer = build_unfilled(make)
    assert tuple(layer.kernel.shape) == (NUMBERS, NUMBERS)
    with keras.StatelessScope():
        other = keras.Variable(np.ones, shape=(2,), dtype="float32")
    # The scope has filled what Keras remembered, ours included.
    assert tuple(other.value.shape) == (2,)
    assert [tuple(each.value.shape) for each in layer.variables] == [(), ()]
