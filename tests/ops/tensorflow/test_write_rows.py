"""Writing in place, and what happens without the operation that does it."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("needs KERAS_BACKEND=tensorflow", allow_module_level=True)

import tensorflow as tf

from keras_moe.ops.tensorflow import write_rows


def test_without_the_operation_a_graph_writes_the_same(monkeypatch):
    monkeypatch.setattr(write_rows, "add_in_place", None)
    inputs = np.arange(6.0, dtype="float32").reshape(2, 3)
    outputs = tf.function(write_rows.write_rows)(
        tf.constant(inputs), tf.zeros((2, 1)), tf.constant([0, 2]), axis=1
    )
    np.testing.assert_array_equal(outputs, [[0, 1, 2], [3, 4, 0]])


def test_tensorflow_still_has_the_operation():
    """If this fails: TensorFlow has dropped `ScatterNdNonAliasingAdd`.

    Until then exported generation copies its caches for every token, which is
    right and slow. Look for another operation that writes in place inside of
    a `tf.while_loop` (`tf.tensor_scatter_nd_update` may do so by then), and
    change `keras_moe/ops/tensorflow/write_rows.py`.
    """
    assert write_rows.add_in_place is not None
