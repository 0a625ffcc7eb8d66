"""A stretch of one axis is written, against NumPy's assignment."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.ops.write_slice import write_slice

SHAPE = (2, 5, 3)


def draw(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def write(inputs, updates, start, axis):
    """Return what NumPy writes, and where."""
    place = [slice(None)] * inputs.ndim
    place[axis] = slice(start, start + updates.shape[axis])
    expected = inputs.copy()
    expected[tuple(place)] = updates
    return expected, tuple(place)


@pytest.mark.parametrize("as_start", [int, ops.convert_to_tensor])
@pytest.mark.parametrize(
    ("axis", "start", "length"), [(0, 1, 1), (1, 0, 5), (1, 2, 3), (2, 2, 1)]
)
def test_one_axis_is_written_from_its_start_on(axis, start, length, as_start):
    shape = (*SHAPE[:axis], length, *SHAPE[axis + 1 :])
    inputs, updates = draw(0, SHAPE), draw(1, shape)
    outputs = write_slice(inputs, updates, as_start(start), axis)
    expected, _ = write(inputs, updates, start, axis)
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs), expected)


def test_the_inputs_stay_as_they_are():
    inputs = ops.zeros((4,))
    write_slice(inputs, ops.ones((1,)), ops.convert_to_tensor(2), axis=0)
    assert ops.convert_to_numpy(inputs).tolist() == [0.0] * 4


def test_outputs_have_the_dtype_of_the_inputs():
    inputs = ops.zeros((4,), dtype="bfloat16")
    outputs = write_slice(inputs, ops.ones((1,)), 2, axis=0)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"


def test_what_is_overwritten_gets_no_gradient(vjp, backend):
    if backend == "tensorflow":
        pytest.skip("XLA's dynamic update has no gradient in TensorFlow")
    inputs, updates = draw(0, SHAPE), draw(1, (2, 2, 3))
    cotangent = draw(2, SHAPE)
    start = ops.convert_to_tensor(1)
    _, (for_inputs, for_updates) = vjp(
        lambda inputs, updates: write_slice(inputs, updates, start, axis=1),
        (inputs, updates),
        cotangent,
    )
    expected, place = write(cotangent, np.zeros_like(updates), 1, 1)
    np.testing.assert_array_equal(for_inputs, expected)
    np.testing.assert_array_equal(for_updates, cotangent[place])
