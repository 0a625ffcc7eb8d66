"""Block scales against a loop over single numbers."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_moe.checkpoints.block_scales import check_scales
from keras_moe.checkpoints.block_scales import scale_blocks

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once


def scale_by_loop(weight, scales, block_size):
    scaled = np.empty(weight.shape, "float32")
    for row, column in np.ndindex(weight.shape):
        scale = scales[row // block_size[0], column // block_size[1]]
        scaled[row, column] = np.float32(weight[row, column]) * scale
    return scaled


def draw(shape, block_size, dtype=ml_dtypes.float8_e4m3fn):
    rng = np.random.default_rng(0)
    count = [-(-s // b) for s, b in zip(shape, block_size, strict=True)]
    scales = rng.uniform(0.1, 9.0, count).astype("float32")
    return rng.normal(size=shape).astype(dtype), scales


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(sizes, sizes)
def test_every_size_is_exact(shape, block_size):
    weight, scales = draw(shape, block_size)
    actual = scale_blocks(weight, scales, block_size)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(
        actual, scale_by_loop(weight, scales, block_size)
    )


@pytest.mark.parametrize(
    "dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, "float32"]
)
def test_the_published_block_size_is_exact_where_the_last_is_partial(dtype):
    # 24 rows of a block of 16 are 16 + 8, not 12 + 12.
    weight, scales = draw((24, 130), (16, 128), dtype)
    np.testing.assert_array_equal(
        scale_blocks(weight, scales, (16, 128)),
        scale_by_loop(weight, scales, (16, 128)),
    )


def test_scales_of_another_float_dtype_count_too():
    weight, scales = draw((4, 4), (2, 2))
    rounded = scales.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(
        scale_blocks(weight, rounded, (2, 2)),
        scale_by_loop(weight, rounded.astype("float32"), (2, 2)),
    )


def test_nothing_is_written_to():
    weight, scales = draw((3, 3), (2, 2))
    weight.flags.writeable = scales.flags.writeable = False
    scale_blocks(weight, scales, (2, 2))


@pytest.mark.parametrize(
    "scales_shape", [(), (2,), (1, 2), (2, 1), (3, 2), (2, 2, 1), (0, 0)]
)
def test_another_number_of_scales_is_an_error(scales_shape):
    with pytest.raises(ValueError) as error:
        scale_blocks(np.ones((3, 4)), np.ones(scales_shape), (2, 2))
    for part in ("(2, 2)", "(3, 4)", f"Received: {scales_shape}"):
        assert part in str(error.value)
    assert "weight_block_size" in str(error.value)


def test_the_message_names_the_weight():
    with pytest.raises(ValueError, match="for q_proj.weight of shape"):
        check_scales((3, 4), (1, 1), (2, 2), "q_proj.weight")


@pytest.mark.parametrize("shape", [(), (4,), (2, 4, 4)])
def test_only_matrices_have_block_scales(shape):
    with pytest.raises(ValueError, match="of a matrix. Received: .*shape"):
        check_scales(shape, (1, 1), (4, 4))
