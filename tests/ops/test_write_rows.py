"""Each row is written at its own place, against NumPy's assignment."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.ops.write_rows import write_rows
from keras_moe.ops.write_slice import write_slice

SHAPE = (3, 2, 5, 4)
STARTS = np.array([3, 0, 2], "int32")


def draw(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def write(inputs, updates, starts, axis):
    """Return what NumPy writes, row by row."""
    expected = inputs.copy()
    for row, start in enumerate(starts):
        stretch = slice(start, start + updates.shape[axis])
        expected[(row, *[slice(None)] * (axis - 1), stretch)] = updates[row]
    return expected


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("axis", [1, 2])
def test_each_row_is_written_from_its_own_start_on(axis, length):
    # Axis 1 as in a cache of latents, axis 2 as in one with heads before it.
    shape = (3, 5, 4) if axis == 1 else SHAPE
    inputs = draw(0, shape)
    updates = draw(1, (*shape[:axis], length, *shape[axis + 1 :]))
    outputs = write_slice(inputs, updates, ops.convert_to_tensor(STARTS), axis)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs), write(inputs, updates, STARTS, axis)
    )


def test_compiled_it_writes_the_same(compiled):
    inputs, updates = draw(0, SHAPE), draw(1, (3, 2, 1, 4))
    function = compiled(lambda *tensors: write_rows(*tensors, axis=2))
    tensors = map(ops.convert_to_tensor, (inputs, updates, STARTS))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(function(*tensors)),
        write(inputs, updates, STARTS, 2),
    )


def test_past_the_end_the_last_place_is_written():
    inputs, updates = draw(0, SHAPE), draw(1, (3, 2, 1, 4))
    starts = np.array([1, 5, 2_000_000_000], "int32")
    outputs = write_rows(inputs, updates, starts, axis=2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs), write(inputs, updates, [1, 4, 4], 2)
    )


def test_the_inputs_stay_as_they_are_and_give_the_dtype():
    inputs = ops.zeros((2, 4), dtype="bfloat16")
    starts = ops.convert_to_tensor([1, 2])
    outputs = write_slice(inputs, ops.ones((2, 1)), starts, axis=1)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert not ops.convert_to_numpy(ops.cast(inputs, "float32")).any()


def test_what_is_overwritten_gets_no_gradient(vjp):
    inputs, updates, cotangent = (
        draw(0, SHAPE),
        draw(1, (3, 2, 1, 4)),
        draw(2, SHAPE),
    )
    starts = ops.convert_to_tensor(STARTS)
    _, (for_inputs, for_updates) = vjp(
        lambda inputs, updates: write_rows(inputs, updates, starts, axis=2),
        (inputs, updates),
        cotangent,
    )
    np.testing.assert_array_equal(
        for_inputs, write(cotangent, np.zeros_like(updates), STARTS, 2)
    )
    expected = [cotangent[row, :, start] for row, start in enumerate(STARTS)]
    np.testing.assert_array_equal(for_updates[:, :, 0], expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_graph_writes_sizes_that_are_open(dtype, backend):
    if backend != "tensorflow":
        pytest.skip("only TensorFlow's graphs have open sizes")
    import tensorflow as tf

    @tf.function
    def write_open(inputs, updates, starts):
        outputs = write_rows(inputs, updates, starts, axis=2)
        assert outputs.shape.as_list() == [None, 2, None, 4]
        return outputs

    shapes = (None, 2, None, 4), (None, 2, 1, 4), (None,)
    function = write_open.get_concrete_function(
        *map(tf.TensorSpec, shapes, (dtype, dtype, "int32"))
    )
    inputs, updates = (
        ops.cast(draw(seed, shape), dtype)
        for seed, shape in ((0, SHAPE), (1, (3, 2, 1, 4)))
    )
    before = ops.convert_to_numpy(inputs)
    outputs = function(inputs, updates, tf.constant(STARTS))
    # Taken away and added, numbers of any precision are exact.
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs),
        write(before, ops.convert_to_numpy(updates), STARTS, 2),
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(inputs), before)
