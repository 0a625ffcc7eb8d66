"""Means over the real tokens of a batch."""

import numpy as np
from keras import ops

from keras_moe.losses import mean_over_tokens
from keras_moe.losses import num_real_tokens
from keras_moe.losses.token_means import mean_over_sequences

MASK = np.array([[True, False, True], [False, False, True]])


def test_real_tokens_are_counted_and_never_zero():
    assert float(num_real_tokens(MASK)) == 3.0
    assert float(num_real_tokens(np.zeros((2, 3), bool))) == 1.0


def test_one_value_per_token_gives_a_scalar():
    values = np.array([[1, 100, 2], [100, 100, 6]], "float32")
    mean = mean_over_tokens(values, MASK)
    assert tuple(mean.shape) == ()
    assert float(mean) == 3.0


def test_several_values_per_token_are_averaged_each():
    values = np.arange(12, dtype="float32").reshape(2, 3, 2)
    # Tokens 0, 2 and 5: (0 + 4 + 10) / 3 and (1 + 5 + 11) / 3.
    np.testing.assert_allclose(
        ops.convert_to_numpy(mean_over_tokens(values, MASK)),
        [14 / 3, 17 / 3],
        rtol=1e-6,
    )


def test_nan_in_padding_does_not_count():
    values = np.where(MASK, 2.0, np.nan).astype("float32")
    assert float(mean_over_tokens(values, MASK)) == 2.0


def test_no_real_token_gives_zero():
    values = np.full((2, 3), np.nan, "float32")
    assert float(mean_over_tokens(values, np.zeros((2, 3), bool))) == 0.0


def test_each_row_has_a_mean_of_its_own():
    mask = np.array([[True, False, True], [False, False, True], [False] * 3])
    values = np.arange(18, dtype="float32").reshape(3, 3, 2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(num_real_tokens(mask, per_sequence=True)),
        [2, 1, 1],
    )
    # Tokens 0 and 2, then 5, then none.
    means = mean_over_tokens(values, mask, per_sequence=True)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(means), [[2, 3], [10, 11], [0, 0]]
    )
    # The third row has no token.
    assert float(mean_over_sequences(means[:, 0], mask)) == 6.0
    assert float(mean_over_sequences(means[:, 0], np.zeros((3, 3), bool))) == 0
