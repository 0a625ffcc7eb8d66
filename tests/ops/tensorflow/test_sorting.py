"""What a graph of the sorting operations is made of."""

import keras
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("needs KERAS_BACKEND=tensorflow", allow_module_level=True)

import tensorflow as tf

from keras_moe.ops import invert_permutation


@pytest.mark.parametrize("length", [4, None])
def test_no_operation_inverts_a_permutation_into_int64(length):
    # tf2onnx translates InvertPermutation to int64, whatever it was, and
    # onnxruntime refuses to load the file.
    function = tf.function(invert_permutation).get_concrete_function(
        tf.TensorSpec((length,), "int32")
    )
    types = {operation.type for operation in function.graph.get_operations()}
    assert "InvertPermutation" not in types
    assert function(tf.constant([2, 0, 3, 1])).numpy().tolist() == [1, 3, 0, 2]
