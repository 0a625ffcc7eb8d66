"""Averages of sequences against NumPy."""

import numpy as np
from keras import ops

from keras_moe.ops.mean_over_tokens import mean_over_tokens


def test_padding_does_not_count_whatever_it_holds():
    inputs = np.arange(24, dtype="float32").reshape(2, 4, 3)
    inputs[0, 2:] = np.nan
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
    found = ops.convert_to_numpy(mean_over_tokens(inputs, mask))
    # (0 + 3) / 2, (1 + 4) / 2, (2 + 5) / 2; a row without tokens is 0.
    assert found.tolist() == [[1.5, 2.5, 3.5], [0.0, 0.0, 0.0]]


def test_half_precision_is_added_up_in_float32():
    inputs = ops.cast(np.full((1, 1000, 1), 1.0), "bfloat16")
    found = mean_over_tokens(inputs, np.ones((1, 1000), "int32"))
    # In bfloat16 a sum of ones ends at 256.
    assert ops.convert_to_numpy(found).tolist() == [[1.0]]
