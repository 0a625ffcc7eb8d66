"""The way with XLA and the way without, and how one is chosen."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("needs KERAS_BACKEND=tensorflow", allow_module_level=True)

import tensorflow as tf

from keras_moe import testing
from keras_moe.ops import grouped_matmul

INNER, OUTER = 3, 4
SIZES = [0, 5, 2]


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def product_and_gradients(inputs, kernels, sizes, cotangent):
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernels])
        outputs = grouped_matmul(inputs, kernels, sizes)
    return outputs, *tape.gradient(outputs, [inputs, kernels], cotangent)


def operations(function, arguments):
    graph = function.get_concrete_function(*arguments).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.fixture
def arguments():
    return [
        tf.constant(draw(0, 9, INNER)),
        tf.constant(draw(1, 3, INNER, OUTER)),
        tf.constant(SIZES),
        tf.constant(draw(2, 9, OUTER)),
    ]


def test_xla_gets_a_loop_and_the_plain_graph_a_split(arguments):
    plain = tf.function(product_and_gradients)
    assert "SplitV" in operations(plain, arguments)
    compiled = tf.function(product_and_gradients, jit_compile=True)
    found = operations(compiled, arguments)
    assert "SplitV" not in found
    assert found & {"While", "StatelessWhile"}


def test_a_function_inside_a_compiled_one_is_compiled_too(arguments):
    # Keras nests its train step like this.
    step = tf.function(product_and_gradients)

    @tf.function(jit_compile=True)
    def outer(*arguments):
        return step(*arguments)

    for actual, expected in zip(
        outer(*arguments), product_and_gradients(*arguments), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_unknown_number_of_rows_is_accepted(arguments, jit_compile):
    function = tf.function(
        product_and_gradients,
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, INNER]),
            tf.TensorSpec([3, INNER, OUTER]),
            tf.TensorSpec([3], tf.int32),
            tf.TensorSpec([None, OUTER]),
        ],
    )
    inputs, kernels, _, cotangent = arguments
    for num_rows, sizes in ((9, SIZES), (4, [1, 0, 1]), (1, [0, 0, 1])):
        results = function(
            inputs[:num_rows],
            kernels,
            tf.constant(sizes),
            cotangent[:num_rows],
        )
        arrays = inputs[:num_rows].numpy(), kernels.numpy(), sizes
        expected = [
            testing.grouped_matmul(*arrays),
            *testing.grouped_matmul_gradients(
                *arrays, cotangent[:num_rows].numpy()
            ),
        ]
        for actual, wanted in zip(results, expected, strict=True):
            scale = np.max(np.abs(wanted))
            assert np.max(np.abs(actual - wanted)) <= 1e-5 * scale
