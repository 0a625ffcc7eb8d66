"""The routing oracle against hand-worked numbers and a sorting definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_moe.testing import route

# The oracles are NumPy.
pytestmark = pytest.mark.once


def route_logits(logits, **arguments):
    """Route tokens whose logits are given: the kernel is the identity."""
    logits = np.asarray(logits, dtype=np.float64)
    return route(logits, np.eye(logits.shape[-1]), **arguments)


def test_logits_are_the_matrix_product_of_token_and_kernel():
    tokens = [[1.0, 2.0], [0.5, -1.0]]
    kernel = [[1.0, 0.0, 3.0], [0.0, 10.0, -1.0]]
    routing = route(tokens, kernel, top_k=1)
    # 1 * (1, 0, 3) + 2 * (0, 10, -1); 0.5 * (1, 0, 3) - (0, 10, -1)
    np.testing.assert_allclose(
        routing.logits, [[1.0, 20.0, 1.0], [0.5, -10.0, 2.5]], rtol=1e-15
    )
    np.testing.assert_array_equal(routing.expert_indices, [[1], [2]])


def test_softmax_scores_follow_the_formula():
    # exp(log n) = n, so the softmax of log(1, 2, 5) is (1, 2, 5) / 8.
    routing = route_logits([np.log([1.0, 2.0, 5.0])], top_k=1)
    np.testing.assert_allclose(
        routing.probs, [[0.125, 0.25, 0.625]], rtol=1e-14
    )


def test_sigmoid_scores_follow_the_formula():
    # sigmoid(log n) = n / (1 + n); sigmoid(0) = 1 / 2.
    routing = route_logits(
        [[math.log(3.0), 0.0, -math.log(4.0)]],
        top_k=1,
        score_function="sigmoid",
    )
    np.testing.assert_allclose(routing.probs, [[0.75, 0.5, 0.2]], rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # Scores (1, 2, 5) / 8: the best two are 5/8 and 2/8, summing to 7/8.
        ({"top_k": 2}, [5 / 7, 2 / 7]),
        ({"top_k": 2, "normalize": True}, [5 / 7, 2 / 7]),
        ({"top_k": 2, "normalize": False}, [5 / 8, 2 / 8]),
        ({"top_k": 2, "route_scale": 2.5}, [12.5 / 7, 5 / 7]),
        ({"top_k": 2, "normalize": False, "route_scale": 2.0}, [1.25, 0.5]),
        # One expert: the raw score, unless asked to divide it by itself.
        ({"top_k": 1}, [5 / 8]),
        ({"top_k": 1, "normalize": True}, [1.0]),
        ({"top_k": 3}, [5 / 8, 2 / 8, 1 / 8]),
    ],
)
def test_combine_weights_are_scaled_scores(arguments, expected):
    routing = route_logits([np.log([1.0, 2.0, 5.0])], **arguments)
    np.testing.assert_allclose(routing.combine_weights, [expected], rtol=1e-14)


def test_sigmoid_weights_are_normalized_over_the_chosen_experts():
    # Scores 3/4, 1/2, 1/5; the best two sum to 5/4.
    logits = [[math.log(3.0), 0.0, -math.log(4.0)]]
    routing = route_logits(logits, top_k=2, score_function="sigmoid")
    np.testing.assert_allclose(routing.combine_weights, [[0.6, 0.4]])


@given(
    logits=st.lists(
        st.lists(st.integers(-1, 1), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    ),
    top_k=st.integers(1, 4),
    score_function=st.sampled_from(["softmax", "sigmoid"]),
)
def test_experts_are_the_best_first_and_ties_go_to_the_lower_index(
    logits, top_k, score_function
):
    # Three possible logits for four experts: every row has a tie.
    routing = route_logits(logits, top_k=top_k, score_function=score_function)
    for row, indices in zip(logits, routing.expert_indices, strict=True):
        expected = sorted(range(4), key=lambda e: (-row[e], e))[:top_k]
        assert indices.tolist() == expected


def test_padding_tokens_have_zero_weights_and_others_are_untouched():
    logits = np.random.default_rng(0).standard_normal((2, 3, 4))
    mask = np.array([[True, False, True], [False, False, True]])
    routing = route_logits(logits, top_k=2, padding_mask=mask)
    without = route_logits(logits, top_k=2)
    assert np.all(routing.combine_weights[~mask] == 0.0)
    np.testing.assert_array_equal(
        routing.combine_weights[mask], without.combine_weights[mask]
    )
    np.testing.assert_array_equal(
        routing.expert_indices[mask], without.expert_indices[mask]
    )


@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 1, 3)])
def test_leading_axes_are_kept_and_tokens_are_independent(leading):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((*leading, 3))
    kernel = rng.standard_normal((3, 4))
    routing = route(inputs, kernel, top_k=2)
    assert routing.expert_indices.shape == (*leading, 2)
    assert routing.combine_weights.shape == (*leading, 2)
    assert routing.logits.shape == routing.probs.shape == (*leading, 4)
    for position in np.ndindex(*leading):
        alone = route(inputs[position], kernel, top_k=2)
        for field, single in zip(routing, alone, strict=True):
            np.testing.assert_array_equal(field[position], single)


def test_large_logits_neither_overflow_nor_warn():
    # pytest turns NumPy's overflow warnings into errors.
    for score_function in ("softmax", "sigmoid"):
        routing = route_logits(
            [[1e4, -1e4, 9e3]], top_k=2, score_function=score_function
        )
        for field in routing:
            assert np.all(np.isfinite(field))
        assert routing.expert_indices[0, 0] == 0
    np.testing.assert_allclose(routing.probs, [[1.0, 0.0, 1.0]])


def test_scores_that_all_underflow_keep_their_order_and_ratio():
    # sigmoid(x) = exp(x) this far to the left: 3 : 1.
    routing = route_logits(
        [[-1e4, -1e4 + math.log(3.0)]],
        top_k=2,
        score_function="sigmoid",
        normalize=True,
    )
    np.testing.assert_array_equal(routing.expert_indices, [[1, 0]])
    np.testing.assert_allclose(
        routing.combine_weights, [[0.75, 0.25]], rtol=1e-10
    )


def test_a_nan_token_leaves_the_others_alone():
    logits = np.array([[0.0, 1.0, 2.0], [np.nan, 0.0, 0.0]])
    routing = route_logits(logits, top_k=2)
    np.testing.assert_array_equal(routing.expert_indices[0], [2, 1])
    assert np.all(np.isfinite(routing.combine_weights[0]))
    # Nothing can be said about the other, except that its indices are valid.
    assert sorted(set(routing.expert_indices[1].tolist())) == [0, 1]


@pytest.mark.parametrize("top_k", [0, -1, 4])
def test_top_k_outside_the_number_of_experts_is_refused(top_k):
    with pytest.raises(ValueError, match=f"between 1 .* 3.*top_k={top_k}"):
        route_logits([[0.0, 0.0, 0.0]], top_k=top_k)


def test_an_unknown_score_function_is_refused():
    with pytest.raises(ValueError, match='"softmax" or "sigmoid".*tanh'):
        route_logits([[0.0, 0.0]], top_k=1, score_function="tanh")


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\).*shape=\(3,\)"):
        route_logits(np.zeros((2, 4)), top_k=1, padding_mask=[True] * 3)
