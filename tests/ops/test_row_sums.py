"""Copies of tokens and sums over rows, with their gradients."""

import numpy as np
import pytest
from keras import ops

from keras_moe.ops import combine_rows
from keras_moe.ops import gather_rows

T, K, H = 5, 3, 4


@pytest.fixture
def permutation():
    order = np.random.default_rng(0).permutation(T * K).astype("int32")
    return order, np.argsort(order).astype("int32").reshape(T, K)


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def test_rows_are_copies_whose_gradients_add_up(vjp, permutation):
    order, inverse = permutation
    tokens, cotangent = draw(1, T, H), draw(2, T * K, H)
    rows, (gradient,) = vjp(
        lambda tokens: gather_rows(tokens, order, inverse),
        (tokens.astype("float32"),),
        cotangent.astype("float32"),
    )
    np.testing.assert_allclose(rows, tokens[order // K], rtol=1e-6)
    expected = np.zeros_like(tokens)
    np.add.at(expected, order // K, cotangent)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


# The weights are float32 under every policy: equal and unequal dtypes take
# different ways on PyTorch.
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)]
)
def test_weighted_sums_and_both_gradients(vjp, permutation, dtype, tolerance):
    order, inverse = permutation
    rows, weights = draw(1, T * K, H), draw(2, T, K)
    cotangent = draw(3, T, H)

    def combine(rows, weights):
        outputs = combine_rows(ops.cast(rows, dtype), weights, order, inverse)
        return ops.cast(outputs, "float32")

    outputs, (for_rows, for_weights) = vjp(
        combine,
        (rows.astype("float32"), weights.astype("float32")),
        cotangent.astype("float32"),
    )
    chosen = rows[inverse]  # (T, K, H)
    near = {"rtol": tolerance, "atol": 4 * tolerance}
    expected = np.einsum("tk,tkh->th", weights, chosen)
    np.testing.assert_allclose(outputs, expected, **near)
    expected = weights.reshape(-1)[order, None] * cotangent[order // K]
    np.testing.assert_allclose(for_rows, expected, **near)
    expected = np.einsum("th,tkh->tk", cotangent, chosen)
    np.testing.assert_allclose(for_weights, expected, **near)
