"""Stable sorting, ranking and counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe.ops import count
from keras_moe.ops import invert_permutation
from keras_moe.ops import stable_argsort
from keras_moe.ops import top_k


def lists_of(elements, *sizes):
    # Few sizes, because JAX compiles for each of them.
    return st.sampled_from(sizes).flatmap(
        lambda size: st.lists(elements, min_size=size, max_size=size)
    )


# Few different values, so that most examples have ties.
VALUES = lists_of(st.integers(0, 3), 1, 2, 17)


def test_top_k_gives_the_lower_index_of_equal_scores():
    scores = np.array(
        [[0.5, 0.9, 0.9, 0.1], [0.0, 0.0, 0.0, 0.0], [1, 2, 2, 2]], "float32"
    )
    first = ops.convert_to_numpy(top_k(scores, 1))
    np.testing.assert_array_equal(first, [[1], [0], [1]])
    assert first.dtype == np.int32
    indices = top_k(scores, 3)
    # Row 2: 2 is the largest, three times; index 0 never comes in.
    expected = [[1, 2, 0], [0, 1, 2], [1, 2, 3]]
    np.testing.assert_array_equal(ops.convert_to_numpy(indices), expected)
    assert ops.convert_to_numpy(indices).dtype == np.int32


def test_top_k_of_all_equal_scores_is_in_order_for_many_experts():
    # Sorting networks and heaps lose the order of equals in longer rows only.
    indices = top_k(np.zeros((3, 256), "float32"), 17)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(indices), [list(range(17))] * 3
    )
    indices = top_k(np.zeros((300, 256), "float32"), 1)
    assert not ops.convert_to_numpy(indices).any()


@pytest.mark.sweep
@given(VALUES)
def test_stable_argsort_agrees_with_numpy(values):
    for dtype in ("int32", "float32"):
        order = stable_argsort(np.array(values, dtype))
        np.testing.assert_array_equal(
            ops.convert_to_numpy(order), np.argsort(values, kind="stable")
        )
        assert ops.convert_to_numpy(order).dtype == np.int32


def test_stable_argsort_keeps_the_order_of_many_equals():
    values = np.tile(np.array([1, 0], "int32"), (2, 500))
    expected = np.argsort(values, axis=-1, kind="stable")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(stable_argsort(values)), expected
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(stable_argsort(-values.astype("float32"))),
        np.argsort(-values, axis=-1, kind="stable"),
    )


# With 2 ** 20 values and 4095 as the largest, value and position no longer
# fit one int32.
@pytest.mark.parametrize(
    ("length", "largest"), [(5000, 7), (2**20, 4094), (2**20, 4095)]
)
def test_a_known_largest_value_changes_nothing(length, largest):
    rng = np.random.default_rng(0)
    values = rng.integers(0, largest + 1, length).astype("int32")
    order = ops.convert_to_numpy(stable_argsort(values, largest))
    np.testing.assert_array_equal(order, np.argsort(values, kind="stable"))
    rows = values[:4000].reshape(4, 1000)
    order = ops.convert_to_numpy(stable_argsort(rows, largest))
    np.testing.assert_array_equal(
        order, np.argsort(rows, axis=-1, kind="stable")
    )


@pytest.mark.sweep
@given(st.permutations(list(range(9))))
def test_the_inverse_undoes_a_permutation(order):
    order = np.array(order, "int32")
    inverse = ops.convert_to_numpy(invert_permutation(order))
    np.testing.assert_array_equal(order[inverse], np.arange(9))
    assert inverse.dtype == np.int32


def test_each_row_is_inverted_on_its_own():
    orders = np.array([[[2, 0, 1], [0, 1, 2]], [[1, 0, 2], [2, 1, 0]]], "int32")
    inverses = ops.convert_to_numpy(invert_permutation(orders))
    np.testing.assert_array_equal(inverses, np.argsort(orders, axis=-1))
    assert inverses.dtype == np.int32


@pytest.mark.sweep
@given(VALUES, st.sampled_from([1, 3]))
def test_count_agrees_with_numpy_and_ignores_what_is_too_large(
    values, num_values
):
    counts = ops.convert_to_numpy(count(np.array(values, "int32"), num_values))
    expected = [values.count(value) for value in range(num_values)]
    np.testing.assert_array_equal(counts, expected)
    assert counts.dtype == np.int32


@pytest.mark.sweep
@given(lists_of(lists_of(st.integers(0, 4), 3), 1, 4))
def test_count_counts_each_group_on_its_own(values):
    counts = ops.convert_to_numpy(count(np.array(values, "int32"), 3))
    expected = [[row.count(value) for value in range(3)] for row in values]
    np.testing.assert_array_equal(counts, expected)
    assert counts.dtype == np.int32


@pytest.mark.parametrize(
    "function",
    [
        lambda values: top_k(values, 2),
        stable_argsort,
        lambda values: count(ops.cast(values, "int32"), 3),
        lambda values: invert_permutation(stable_argsort(values)),
    ],
)
def test_compiled_results_equal_eager_ones(function, compiled):
    values = ops.convert_to_tensor(
        np.random.default_rng(0).integers(0, 3, (4, 50)).astype("float32")
    )
    for each in (values, values[0]):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(compiled(function)(each)),
            ops.convert_to_numpy(function(each)),
        )


def test_int64_goes_in_and_int32_comes_out():
    # What NumPy and PyTorch count in.
    values, rows = np.array([2, 0, 1]), np.array([[2, 0, 1]])
    two = np.int64(2)
    for result, expected in (
        (top_k(values.astype("float32"), two), [0, 2]),
        (stable_argsort(values, two), [1, 2, 0]),
        (stable_argsort(rows), [[1, 2, 0]]),
        (invert_permutation(values), [1, 2, 0]),
        (invert_permutation(rows), [[1, 2, 0]]),
        (count(values, two), [1, 1]),
        (count(rows, two), [[1, 1]]),
    ):
        result = ops.convert_to_numpy(result)
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, expected)
