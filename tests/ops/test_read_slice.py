"""A stretch of one axis is read, against NumPy's slices."""

import numpy as np
import pytest
from keras import ops

from keras_moe.ops.read_slice import read_slice


@pytest.mark.parametrize("as_start", [int, ops.convert_to_tensor])
@pytest.mark.parametrize(
    ("axis", "start", "length"), [(0, 1, 1), (1, 0, 5), (1, 2, 3), (2, 2, 1)]
)
def test_one_axis_is_read_from_its_start_on(axis, start, length, as_start):
    inputs = np.arange(30.0).reshape(2, 5, 3)
    place = [slice(None)] * 3
    place[axis] = slice(start, start + length)
    outputs = read_slice(inputs, as_start(start), length, axis)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs), inputs[tuple(place)]
    )
