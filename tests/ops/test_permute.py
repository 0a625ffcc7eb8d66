"""Tokens to rows sorted by expert, and back, with both gradients."""

import numpy as np
import pytest

from keras_moe.ops import combine_rows
from keras_moe.ops import gather_rows

TOKENS, TOP_K, HIDDEN = 5, 3, 4


@pytest.fixture
def case():
    rng = np.random.default_rng(3)
    order = rng.permutation(TOKENS * TOP_K).astype("int32")
    inverse = np.argsort(order).astype("int32").reshape(TOKENS, TOP_K)

    def draw(*shape):
        return rng.standard_normal(shape).astype("float32")

    return order, inverse, draw


def test_each_row_is_the_token_of_its_pair(case, vjp):
    order, inverse, draw = case
    tokens, cotangent = draw(TOKENS, HIDDEN), draw(TOKENS * TOP_K, HIDDEN)
    rows, (gradient,) = vjp(
        lambda tokens: gather_rows(tokens, order, inverse), (tokens,), cotangent
    )
    expected = np.zeros_like(tokens)
    for row, pair in enumerate(order):
        np.testing.assert_array_equal(rows[row], tokens[pair // TOP_K])
        expected[pair // TOP_K] += cotangent[row]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_each_token_is_the_weighted_sum_of_its_rows(case, vjp):
    order, inverse, draw = case
    rows, weights = draw(TOKENS * TOP_K, HIDDEN), draw(TOKENS, TOP_K)
    cotangent = draw(TOKENS, HIDDEN)
    tokens, (for_rows, for_weights) = vjp(
        lambda rows, weights: combine_rows(rows, weights, order, inverse),
        (rows, weights),
        cotangent,
    )
    expected = np.zeros((TOKENS, HIDDEN))
    expected_for_rows = np.zeros_like(rows)
    expected_for_weights = np.zeros_like(weights)
    for row, pair in enumerate(order):
        token, choice = divmod(int(pair), TOP_K)
        expected[token] += weights[token, choice] * rows[row]
        expected_for_rows[row] = weights[token, choice] * cotangent[token]
        expected_for_weights[token, choice] = rows[row] @ cotangent[token]
    for actual, wanted in (
        (tokens, expected),
        (for_rows, expected_for_rows),
        (for_weights, expected_for_weights),
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


def test_combining_undoes_gathering_when_weights_sum_to_one(case, vjp):
    order, inverse, draw = case
    tokens = draw(TOKENS, HIDDEN)
    weights = np.full((TOKENS, TOP_K), 1.0 / TOP_K, "float32")
    back, (gradient,) = vjp(
        lambda tokens: combine_rows(
            gather_rows(tokens, order, inverse), weights, order, inverse
        ),
        (tokens,),
        np.ones((TOKENS, HIDDEN), "float32"),
    )
    np.testing.assert_allclose(back, tokens, rtol=1e-6)
    np.testing.assert_allclose(gradient, np.ones_like(tokens), rtol=1e-6)


def test_half_precision_rows_are_summed_in_the_weights_float32(case):
    from keras import ops

    order = np.arange(3, dtype="int32")
    rows = ops.cast(np.array([[256.0], [1.0], [1.0]]), "bfloat16")
    weights = np.ones((1, 3), "float32")
    tokens = combine_rows(rows, weights, order, order[None])
    assert tokens.dtype == rows.dtype
    # bfloat16 has 8 bits: 256 + 1 is 256 again, 258 exists.
    assert float(ops.cast(tokens, "float32")[0, 0]) == 258.0
