"""The loop over blocks of rows, on every backend: plain `keras.ops`."""

import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.ops.blocks import _block_size
from keras_moe.ops.blocks import grouped_outer
from keras_moe.ops.blocks import grouped_rows


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# More rows than a block of 8 in one group, exactly a block, overhangs that
# the next group overwrites, an overhang past the last row, nothing at all.
@pytest.mark.parametrize(
    "sizes", [[17, 0, 3], [8, 8, 8], [1, 1, 22], [0, 0, 0], [3, 9, 5]]
)
@pytest.mark.parametrize("known_count", [False, True])
def test_products_over_blocks_agree_with_the_oracle(sizes, known_count):
    inputs, kernels = draw(0, 24, 2), draw(1, 3, 2, 5)
    cotangents = draw(2, 24, 5)
    group_sizes = ops.convert_to_tensor(np.array(sizes, "int32"))
    results = (
        grouped_rows(inputs, kernels, group_sizes, False, known_count),
        grouped_rows(cotangents, kernels, group_sizes, True, known_count),
        grouped_outer(inputs, cotangents, group_sizes, known_count),
    )
    expected = (
        testing.grouped_matmul(inputs, kernels, sizes),
        *testing.grouped_matmul_gradients(inputs, kernels, sizes, cotangents),
    )
    for actual, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(actual), wanted, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    ("num_rows", "num_groups", "expected"),
    [
        (1, 1, 2),  # never smaller than 2
        (64, 4, 8),  # half of the average 16
        (1024, 8, 64),  # half of the average 128
        (1000, 8, 64),  # half of 125, rounded up to a power of two
        (10_000, 2, 128),  # never larger than 128
        (100, 64, 2),
    ],
)
def test_a_block_is_about_half_an_average_group(num_rows, num_groups, expected):
    assert _block_size(num_rows, num_groups) == expected


@pytest.mark.parametrize(
    ("num_rows", "num_groups", "expected"),
    [(1, 1, 2), (64, 4, 4), (32_768, 8, 1024), (10**6, 8, 2048)],
)
def test_blocks_of_a_known_count_are_a_quarter(num_rows, num_groups, expected):
    assert _block_size(num_rows, num_groups, known_count=True) == expected


def test_an_unknown_number_of_rows_gets_the_largest_block():
    assert _block_size(ops.convert_to_tensor(4), 2) == 128
