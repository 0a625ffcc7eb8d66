"""The grouped matmul oracle against a split, and against differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_moe.testing import grouped_matmul
from keras_moe.testing import grouped_matmul_gradients

# The oracles are NumPy.
pytestmark = pytest.mark.once

GROUP_SIZES = [
    [2, 0, 3],  # an empty group
    [0, 0, 0],  # nothing at all
    [0, 7, 0],  # one giant group
    [1, 1, 1],  # rows past the sum
    [7, 0, 0],
    [0, 0, 7],
]


def draw(group_sizes, rows=7, seed=0):
    rng = np.random.default_rng(seed)
    num_experts = len(group_sizes)
    return (
        rng.standard_normal((rows, 2)),
        rng.standard_normal((num_experts, 2, 3)),
        np.array(group_sizes),
        rng.standard_normal((rows, 3)),
    )


@given(
    group_sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    rest=st.integers(0, 3),
)
def test_outputs_are_products_of_the_split_inputs(group_sizes, rest):
    rows = sum(group_sizes) + rest
    inputs, kernels, sizes, _ = draw(group_sizes, rows)
    outputs = grouped_matmul(inputs, kernels, sizes)
    parts = np.split(inputs, np.cumsum(sizes))
    # The last part is what remains past the sum.
    expected = [x @ kernel for x, kernel in zip(parts, kernels, strict=False)]
    expected.append(np.zeros((rest, 3)))
    np.testing.assert_allclose(outputs, np.concatenate(expected), rtol=1e-13)


@pytest.mark.parametrize("group_sizes", GROUP_SIZES)
def test_gradients_are_derivatives(group_sizes, numerical_gradient):
    inputs, kernels, sizes, cotangent = draw(group_sizes)
    d_inputs, d_kernels = grouped_matmul_gradients(
        inputs, kernels, sizes, cotangent
    )
    np.testing.assert_allclose(
        d_inputs,
        numerical_gradient(
            lambda x: np.sum(grouped_matmul(x, kernels, sizes) * cotangent),
            inputs,
        ),
        rtol=1e-7,
        atol=1e-8,
    )
    np.testing.assert_allclose(
        d_kernels,
        numerical_gradient(
            lambda k: np.sum(grouped_matmul(inputs, k, sizes) * cotangent),
            kernels,
        ),
        rtol=1e-7,
        atol=1e-8,
    )


def test_rows_past_the_sum_count_for_nothing_even_when_they_are_nan():
    inputs, kernels, sizes, cotangent = draw([2, 0, 3])
    inputs[5:] = np.nan
    cotangent[5:] = np.nan
    outputs = grouped_matmul(inputs, kernels, sizes)
    assert np.all(outputs[5:] == 0.0)
    d_inputs, d_kernels = grouped_matmul_gradients(
        inputs, kernels, sizes, cotangent
    )
    assert np.all(d_inputs[5:] == 0.0)
    assert np.all(np.isfinite(d_kernels))
    assert np.all(d_kernels[1] == 0.0)  # the empty group


def test_one_row_and_one_group_are_normal():
    outputs = grouped_matmul([[2.0]], [[[3.0, 4.0]]], [1])
    np.testing.assert_array_equal(outputs, [[6.0, 8.0]])
    assert grouped_matmul(np.zeros((0, 1)), [[[3.0]]], [0]).shape == (0, 1)


@pytest.mark.parametrize(
    "group_sizes", [[4, 4, 0], [1, 1], [1, 1, 1, 1], [-1, 2, 3]]
)
def test_impossible_group_sizes_are_refused(group_sizes):
    inputs, kernels, _, cotangent = draw([0, 0, 0])
    with pytest.raises(ValueError, match="3 counts.*at most 7.*Received"):
        grouped_matmul(inputs, kernels, group_sizes)
    with pytest.raises(ValueError, match="3 counts.*at most 7.*Received"):
        grouped_matmul_gradients(inputs, kernels, group_sizes, cotangent)
