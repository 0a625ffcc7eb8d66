"""Losses and balance numbers against hand-worked cases and NumPy formulae."""

import math

import numpy as np
import pytest

from keras_moe.testing import expert_bias_update
from keras_moe.testing import load_balancing_loss
from keras_moe.testing import max_violation
from keras_moe.testing import route
from keras_moe.testing import router_entropy
from keras_moe.testing import router_z_loss
from keras_moe.testing import tokens_per_expert

# The oracles are NumPy.
pytestmark = pytest.mark.once

# Three tokens, two experts each of four; the last token is padding.
INDICES = np.array([[0, 1], [0, 3], [2, 1]])
PROBS = np.array(
    [[0.5, 0.3, 0.1, 0.1], [0.4, 0.1, 0.2, 0.3], [0.1, 0.2, 0.6, 0.1]]
)
MASK = np.array([True, True, False])


def test_load_balancing_loss_by_hand():
    # Pairs on the experts: 2, 2, 1, 1 of 3 tokens. Mean probs: 1.0, 0.6, 0.9,
    # 0.5, each over 3. 4 / 2 * (2 * 1.0 + 2 * 0.6 + 0.9 + 0.5) / 9 = 9.2 / 9.
    loss = load_balancing_loss(INDICES, PROBS)
    assert loss == pytest.approx(9.2 / 9, rel=1e-14)


def test_load_balancing_loss_leaves_padding_out():
    # Pairs 2, 1, 0, 1 of 2 tokens; mean probs 0.45, 0.2, 0.15, 0.2.
    # 4 / 2 * (2 * 0.45 + 0.2 + 0.2) / 2 = 1.3.
    loss = load_balancing_loss(INDICES, PROBS, MASK)
    assert loss == pytest.approx(1.3, rel=1e-14)


def test_load_balancing_loss_divides_sigmoid_scores_by_their_sum():
    loss = load_balancing_loss(INDICES, PROBS)
    # Another factor for every token, as scores that do not sum to 1 have.
    scaled = PROBS * np.array([[0.1], [3.0], [0.5]])
    assert load_balancing_loss(INDICES, scaled) == pytest.approx(loss)


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_load_balancing_loss_is_one_when_balanced(top_k):
    # Token t chooses experts t, t + 1, ...: every expert has K pairs. Equal
    # load is enough: f is then constant and the shares sum to 1.
    indices = np.array([[(t + k) % 4 for k in range(top_k)] for t in range(4)])
    probs = np.random.default_rng(0).random((4, 4))
    loss = load_balancing_loss(indices, probs)
    assert loss == pytest.approx(1.0, rel=1e-14)


def test_load_balancing_loss_is_e_over_k_when_k_experts_do_everything():
    probs = np.zeros((6, 5))
    probs[:, :2] = 0.5
    indices = np.tile([[0, 1]], (6, 1))
    assert load_balancing_loss(indices, probs) == pytest.approx(5 / 2)


def test_router_z_loss_by_hand():
    # logsumexp of log(1, 3) is log 4, of log(2, 6) is log 8.
    logits = np.log([[1.0, 3.0], [2.0, 6.0]])
    expected = (math.log(4) ** 2 + math.log(8) ** 2) / 2
    assert router_z_loss(logits) == pytest.approx(expected, rel=1e-14)
    masked = router_z_loss(logits, [False, True])
    assert masked == pytest.approx(math.log(8) ** 2, rel=1e-14)


def test_router_z_loss_does_not_overflow():
    # logsumexp(1e4, 1e4) = 1e4 + log 2
    loss = router_z_loss([[1e4, 1e4]])
    assert loss == pytest.approx((1e4 + math.log(2)) ** 2, rel=1e-14)


def test_router_entropy_by_hand():
    probs = [[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]
    # log 2 for the first; 2 / 4 * log 4 + 1 / 2 * log 2 = 1.5 log 2.
    expected = 1.25 * math.log(2)
    assert router_entropy(probs) == pytest.approx(expected, rel=1e-14)
    masked = router_entropy(probs, [False, True])
    assert masked == pytest.approx(1.5 * math.log(2), rel=1e-14)
    # Sigmoid scores count by their shares.
    scaled = np.array(probs) * [[0.2], [4.0]]
    assert router_entropy(scaled) == pytest.approx(expected, rel=1e-14)


def test_tokens_per_expert_counts_pairs_of_real_tokens():
    np.testing.assert_array_equal(tokens_per_expert(INDICES, 4), [2, 2, 1, 1])
    np.testing.assert_array_equal(
        tokens_per_expert(INDICES, 5, MASK), [2, 1, 0, 1, 0]
    )
    # Leading axes do not matter.
    np.testing.assert_array_equal(
        tokens_per_expert(INDICES[None], 4, MASK[None]), [2, 1, 0, 1]
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([3, 3, 3], 0.0), ([6, 2, 2, 2], 1.0), ([0, 0, 7], 2.0), ([5], 0.0)],
)
def test_max_violation_by_hand(counts, expected):
    # E * max / sum - 1: 4 * 6 / 12 - 1 = 1; 3 * 7 / 7 - 1 = 2.
    assert max_violation(np.array(counts)) == pytest.approx(expected)


def test_the_bias_goes_down_where_there_are_more_than_the_mean():
    # Means 3 and 7 / 3.
    np.testing.assert_array_equal(
        expert_bias_update([3, 5, 1], 0.5), [0.0, -0.5, 0.5]
    )
    np.testing.assert_array_equal(
        expert_bias_update([2, 2, 3], 0.5), [0.5, 0.5, -0.5]
    )
    np.testing.assert_array_equal(expert_bias_update([0, 0], 0.5), [0, 0])


def test_no_real_token_gives_zero_everywhere():
    nobody = np.array([False, False, False])
    assert load_balancing_loss(INDICES, PROBS, nobody) == 0.0
    assert router_z_loss(PROBS, nobody) == 0.0
    assert router_entropy(PROBS, nobody) == 0.0
    counts = tokens_per_expert(INDICES, 4, nobody)
    np.testing.assert_array_equal(counts, [0, 0, 0, 0])
    assert max_violation(counts) == 0.0
    empty = route(np.zeros((0, 3)), np.zeros((3, 4)), top_k=2)
    assert load_balancing_loss(empty.expert_indices, empty.probs) == 0.0
    assert router_z_loss(empty.logits) == 0.0


def test_scores_that_all_underflow_give_no_nan():
    probs = np.array([[0.0, 0.0], [0.5, 0.5]])
    # The first token has pairs but no shares: f = (2, 0) / 2, P = (1, 1) / 4.
    loss = load_balancing_loss([[0], [0]], probs)
    assert loss == pytest.approx(2 * 1.0 * 0.25)
    assert router_entropy(probs) == pytest.approx(math.log(2) / 2)
