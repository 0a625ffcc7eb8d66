"""The grouped product and both of its gradients against the oracle."""

import keras
import numpy as np
import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.ops import grouped_matmul

INNER, OUTER = 3, 4
# Relative to the largest number of an array: entries that nearly cancel have
# no relative accuracy of their own.
TOLERANCE = 1e-5


def difference(actual, expected):
    """Largest difference, relative to the largest expected number."""
    assert actual.shape == expected.shape
    if not expected.size:
        return 0.0
    scale = np.max(np.abs(expected)) or 1.0
    return np.max(np.abs(actual - expected)) / scale


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.fixture(scope="session")
def products(backend, compiled):
    """Return the product in every form that takes another way through it.

    TensorFlow has one for XLA and one without. Eager JAX is the same way as
    compiled JAX, only that it compiles every operation on its own.
    """
    return {
        "jax": [compiled(grouped_matmul)],
        "torch": [grouped_matmul],
        "tensorflow": [grouped_matmul, compiled(grouped_matmul)],
    }[backend]


def check_against_oracle(vjp, function, num_rows, group_sizes):
    group_sizes = np.array(group_sizes, "int32")
    inputs = draw(0, num_rows, INNER)
    kernels = draw(1, len(group_sizes), INNER, OUTER)
    cotangent = draw(2, num_rows, OUTER)
    outputs, gradients = vjp(
        lambda inputs, kernels: function(
            inputs, kernels, ops.convert_to_tensor(group_sizes)
        ),
        (inputs, kernels),
        cotangent,
    )
    arguments = inputs, kernels, group_sizes
    expected = testing.grouped_matmul(*arguments)
    assert difference(outputs, expected) <= TOLERANCE
    expected = testing.grouped_matmul_gradients(*arguments, cotangent)
    for actual, wanted in zip(gradients, expected, strict=True):
        assert difference(actual, wanted) <= TOLERANCE


@st.composite
def groups(draw):
    """Rows and group sizes; empty groups and unused rows are common."""
    # Few shapes, because JAX compiles for each of them.
    num_rows = draw(st.sampled_from([1, 21]))
    num_groups = draw(st.sampled_from([1, 4]))
    ends = [draw(st.integers(0, num_rows)) for _ in range(num_groups)]
    return num_rows, np.diff(sorted(ends), prepend=0).tolist()


# One group and one row; all empty; empty first, last and in between; one
# giant group; groups longer than a block of 8 rows, and no multiple of it.
@example((1, [1]))
@example((1, [0]))
@example((1, [0, 0, 1, 0]))
@example((21, [0, 0, 0, 0]))
@example((21, [0, 21, 0, 0]))
@example((21, [0, 3, 0, 11]))
@example((21, [9, 0, 12, 0]))
@example((21, [1, 8, 7, 5]))
@pytest.mark.sweep
@given(groups())
def test_product_and_gradients_agree_with_the_oracle(vjp, products, case):
    check_against_oracle(vjp, products[0], *case)


@pytest.mark.parametrize(
    "group_sizes", [[0, 3, 0, 11], [21, 0, 0, 0], [1, 8, 7, 5], [0, 0, 0, 0]]
)
def test_the_other_form_agrees_with_the_oracle(vjp, products, group_sizes):
    check_against_oracle(vjp, products[-1], 21, group_sizes)


# Dynamo's own: it makes an instance to look at the class, and reads through
# the caches of Keras' dtype functions.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call")
def test_eager_and_compiled_many_rows_agree_with_the_oracle(vjp, compiled):
    # 300 rows in 2 groups: blocks of 128 on CPU, the last one overhanging.
    for function in (grouped_matmul, compiled(grouped_matmul)):
        check_against_oracle(vjp, function, 300, [130, 150])


def test_no_rows_at_all_give_no_rows_and_zero_gradients(vjp):
    check_against_oracle(vjp, grouped_matmul, 0, [0, 0])


def test_nan_past_the_sum_reaches_neither_outputs_nor_gradients(vjp, products):
    inputs, kernels = draw(0, 21, INNER), draw(1, 4, INNER, OUTER)
    cotangent = draw(2, 21, OUTER)
    inputs[4:] = cotangent[4:] = np.nan
    group_sizes = np.array([1, 0, 3, 0], "int32")
    clean = np.nan_to_num(inputs), kernels, group_sizes
    for product in products:
        outputs, gradients = vjp(
            lambda inputs, kernels, product=product: product(
                inputs, kernels, ops.convert_to_tensor(group_sizes)
            ),
            (inputs, kernels),
            cotangent,
        )
        assert np.all(outputs[4:] == 0.0)
        assert np.all(gradients[0][4:] == 0.0)
        expected = testing.grouped_matmul(*clean)
        assert difference(outputs, expected) <= TOLERANCE
        expected = testing.grouped_matmul_gradients(
            *clean, np.nan_to_num(cotangent)
        )
        for actual, wanted in zip(gradients, expected, strict=True):
            assert difference(actual, wanted) <= TOLERANCE


def test_a_nan_stays_in_its_row_and_its_kernels_gradient(vjp, products):
    inputs, kernels = draw(0, 21, INNER), draw(1, 4, INNER, OUTER)
    inputs[1] = np.nan
    group_sizes = np.array([2, 0, 13, 6], "int32")
    for product in products:
        outputs, (_, for_kernels) = vjp(
            lambda inputs, kernels, product=product: product(
                inputs, kernels, ops.convert_to_tensor(group_sizes)
            ),
            (inputs, kernels),
            draw(2, 21, OUTER),
        )
        assert np.isnan(outputs[1]).all()
        assert np.isfinite(np.delete(outputs, 1, axis=0)).all()
        assert np.isnan(for_kernels[0]).all()
        assert np.isfinite(for_kernels[1:]).all()


def test_mixed_dtypes_compute_in_the_wider_one(vjp, products):
    # Numbers that bfloat16 holds exactly, so that only the product can differ.
    inputs = np.round(4 * draw(0, 21, INNER)) / 4
    kernels = draw(1, 4, INNER, OUTER)
    group_sizes = np.array([2, 0, 13, 6], "int32")
    cotangent = draw(2, 21, OUTER)
    for product in products:
        outputs, (for_inputs, for_kernels) = vjp(
            lambda inputs, kernels, product=product: product(
                ops.cast(inputs, "bfloat16"),
                kernels,
                ops.convert_to_tensor(group_sizes),
            ),
            (inputs, kernels),
            cotangent,
        )
        arguments = inputs, kernels, group_sizes
        expected = testing.grouped_matmul(*arguments)
        assert difference(outputs, expected) <= TOLERANCE
        expected = testing.grouped_matmul_gradients(*arguments, cotangent)
        # The gradient of the rows passes through their cast: 8 bits.
        assert difference(for_inputs, expected[0]) <= 2**-8
        assert difference(for_kernels, expected[1]) <= TOLERANCE


@pytest.mark.parametrize(
    ("inputs", "kernels", "expected"),
    [
        ("bfloat16", "float32", "float32"),
        ("float16", "float16", "float16"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_the_product_has_the_wider_dtype(inputs, kernels, expected):
    outputs = grouped_matmul(
        ops.ones((2, 1), inputs), ops.ones((2, 1, 1), kernels), [1, 1]
    )
    assert keras.backend.standardize_dtype(outputs.dtype) == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_kernel_gradients_sum_in_float32(dtype, vjp, products):
    # Each row adds 1 to the gradient of its kernel; a sum kept in bfloat16
    # would stop at 256.
    for product in products:
        _, (gradient,) = vjp(
            lambda kernels, product=product: product(
                ops.ones((300, 1), dtype),
                ops.cast(kernels, dtype),
                ops.convert_to_tensor([0, 300]),
            ),
            (np.ones((2, 1, 1), "float32"),),
            np.ones((300, 1)),
        )
        np.testing.assert_array_equal(gradient.ravel(), [0.0, 300.0])


@pytest.mark.parametrize(
    ("inputs", "kernels", "group_sizes", "message"),
    [
        ((2, 3, 4), (2, 4, 5), (2,), "Flatten the leading dimensions"),
        ((3, 4), (4, 5), (1,), "kernels of shape \\(E, D, F\\)"),
        ((3, 4), (2, 4, 5), (), "group_sizes of shape \\(E,\\)"),
        ((3, 4), (2, 5, 4), (2,), "Transpose the kernels"),
        ((3, 4), (2, 4, 5), (3,), "Give empty groups a size of 0"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    inputs, kernels, group_sizes, message
):
    with pytest.raises(ValueError, match=message) as error:
        grouped_matmul(
            np.zeros(inputs, "float32"),
            np.zeros(kernels, "float32"),
            np.zeros(group_sizes, "int32"),
        )
    assert f"inputs.shape={inputs}" in str(error.value)


def test_float64_is_multiplied_and_summed_in_float64(backend, vjp, products):
    if backend == "jax":
        pytest.skip("64-bit numbers are a mode there: tests/layers")
    # 1e8 + 1 - 1e8, which is 0 in float32: along a row, and over the rows.
    terms = np.array([1e8, 1.0, -1e8])
    inputs = np.zeros((4, 3))
    inputs[0], inputs[1:, 0] = terms, terms
    for product in products:
        outputs, gradients = vjp(
            lambda inputs, kernels, product=product: product(
                inputs, kernels, ops.convert_to_tensor(np.int32([1, 3]))
            ),
            (inputs, np.ones((2, 3, 1))),
            np.ones((4, 1)),
        )
        assert outputs[0, 0] == 1.0
        assert gradients[1][1, 0, 0] == 1.0
