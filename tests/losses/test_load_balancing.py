"""The loss that keeps the experts equally busy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.losses import load_balancing_loss
from keras_moe.losses import tokens_per_expert
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens


def plan_of(router_probs, top_k, padding_mask=None):
    """A plan with exactly these scores."""
    return choose_top_k(
        np.asarray(router_probs, "float32"),
        top_k,
        score_function=lambda logits: logits,
        padding_mask=padding_mask,
    )


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_a_balanced_load_costs_one(top_k):
    # Token t prefers expert t, then t + 1, ...: each expert is chosen by
    # `top_k` of 4 tokens and has a quarter of the probability.
    first = np.array([0.4, 0.3, 0.2, 0.1])
    probs = [np.roll(first, token) for token in range(4)]
    assert float(load_balancing_loss(plan_of(probs, top_k))) == pytest.approx(1)


def test_equal_scores_cost_one_although_ties_go_to_the_first_experts():
    # f = (1, 1, 0, 0), P = 1/4 each: 4 * (1/4 + 1/4) / 2 = 1.
    plan = plan_of(np.full((1, 3, 4), 0.25), top_k=2)
    assert float(load_balancing_loss(plan)) == pytest.approx(1)


def test_one_certain_expert_costs_as_much_as_there_are_experts():
    plan = plan_of(np.tile([1.0, 0, 0, 0], (5, 1)), top_k=1)
    assert float(load_balancing_loss(plan)) == pytest.approx(4)


def test_a_hand_worked_case():
    # Choices: {0, 1}, {0, 2}. f = (1, 1/2, 1/2).
    # P = ((.5 + .6) / 2, (.3 + .1) / 2, (.2 + .3) / 2) = (.55, .2, .25).
    # 3 * (.55 + .1 + .125) / 2 = 1.1625.
    plan = plan_of([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]], top_k=2)
    assert float(load_balancing_loss(plan)) == pytest.approx(1.1625)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(tokens_per_expert(plan)), [2, 1, 1]
    )


def test_scores_that_do_not_sum_to_one_are_normalized_per_token():
    probs = np.array([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]])
    # The second token's scores are doubled, its shares stay.
    plan = plan_of(probs * [[1.0], [2.0]], top_k=2)
    assert float(load_balancing_loss(plan)) == pytest.approx(1.1625)


def test_padding_is_excluded():
    probs = [[0.5, 0.3, 0.2], [0.0, 0.0, 1.0], [0.6, 0.1, 0.3]]
    plan = plan_of(probs, 2, np.array([True, False, True]))
    assert float(load_balancing_loss(plan)) == pytest.approx(1.1625)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(tokens_per_expert(plan)), [2, 1, 1]
    )


def test_no_real_token_costs_nothing():
    plan = plan_of(np.full((2, 3), 1 / 3), 1, np.zeros(2, bool))
    assert float(load_balancing_loss(plan)) == 0.0


@pytest.mark.sweep
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_the_loss_agrees_with_the_oracle(seed, top_k):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((2, 3, 5)).astype("float32")
    mask = rng.random((2, 3)) > 0.3
    plan = choose_top_k(logits, top_k, padding_mask=mask)
    indices, probs = (
        ops.convert_to_numpy(each)
        for each in (plan.expert_indices, plan.scores.probs)
    )
    assert float(load_balancing_loss(plan)) == pytest.approx(
        testing.load_balancing_loss(indices, probs, mask), rel=1e-5
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(tokens_per_expert(plan)),
        testing.tokens_per_expert(indices, 5, mask),
    )


@pytest.mark.parametrize(
    ("center", "score_function"),
    [
        (-60.0, "sigmoid"),
        (-200.0, "sigmoid"),
        (200.0, "sigmoid"),
        (-60.0, lambda logits: 3.0 * ops.sigmoid(logits)),
    ],
)
def test_scores_near_zero_and_one_cost_what_their_shares_cost(
    center, score_function, vjp
):
    logits = np.random.default_rng(0).normal(center, 1.0, (16, 8))
    logits = logits.astype("float32")
    loss, (gradient,) = vjp(
        lambda logits: load_balancing_loss(
            choose_top_k(logits, 2, score_function)
        ),
        (logits,),
        np.ones(()),
    )
    indices = testing.route(logits, np.eye(8), top_k=2).expert_indices
    log_scores = -np.logaddexp(0.0, -logits.astype("float64"))
    shares = np.exp(log_scores - log_scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    expected = testing.load_balancing_loss(indices, shares)
    assert loss == pytest.approx(expected, rel=1e-5)
    # E / K * sum_e f_e * (mean over 16 tokens of share_e)
    weights = 8 / 2 * testing.tokens_per_expert(indices, 8) / 16 / 16
    mean = np.sum(shares * weights, axis=-1, keepdims=True)
    slope = np.exp(-np.logaddexp(0.0, logits.astype("float64")))
    np.testing.assert_allclose(
        gradient, shares * (weights - mean) * slope, rtol=1e-4, atol=1e-7
    )


def test_dropped_pairs_cost_what_they_did():
    probs = [[[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.1, 0.2, 0.7]]]
    plan = plan_of(probs, 2, np.array([[True, True, False]]))
    # Expert 0 and 1 and 2 take one token each: token 1 finds no place in 0.
    limited = assign_slots(plan, 3, capacity=1)
    assert np.any(ops.convert_to_numpy(limited.expert_indices)[0, 1] == 3)
    assert float(load_balancing_loss(limited)) == pytest.approx(1.1625)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(tokens_per_expert(limited)), [2, 1, 1]
    )


def test_counts_of_groups_are_added_up_and_need_no_scores():
    plan = plan_of(np.random.default_rng(0).random((2, 3, 4)), 2)
    counted = count_tokens(plan, 4)
    assert tuple(counted.tokens_per_expert.shape) == (2, 4)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(tokens_per_expert(counted._replace(scores=None))),
        ops.convert_to_numpy(tokens_per_expert(plan)),
    )


def test_a_plan_without_scores_has_no_loss():
    plan = count_tokens(plan_of(np.zeros((2, 3)), 1), 3)._replace(scores=None)
    with pytest.raises(ValueError, match="a router with scores"):
        load_balancing_loss(plan)


def test_first_choices_alone_cost_what_one_expert_per_token_costs():
    probs = [[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]]
    # f = (1, 0, 0), P = (.55, .2, .25): 3 * .55, whatever K is.
    for normalize_top_k in (False, True):
        loss = load_balancing_loss(
            plan_of(probs, 2), choices="first", normalize_top_k=normalize_top_k
        )
        assert float(loss) == pytest.approx(1.65)


def test_sequences_are_balanced_each_by_itself():
    # Each row is sure of one expert and costs 2; together they are balanced.
    # The third has no real token and does not count.
    probs = np.float32([[[1, 0], [1, 0]], [[0, 1], [0, 1]], [[0, 1], [0, 1]]])
    mask = np.array([[True, True], [True, False], [False, False]])
    plan = plan_of(probs, 1, mask)
    loss = load_balancing_loss(plan, per_sequence=True)
    assert float(loss) == pytest.approx(2.0)
    # f = P = (2/3, 1/3).
    assert float(load_balancing_loss(plan)) == pytest.approx(10 / 9)
    # Inputs of rank 2 are one sequence.
    plan = plan_of(probs[0], 1)
    loss = load_balancing_loss(plan, per_sequence=True)
    assert float(loss) == pytest.approx(2.0)


def test_unknown_choices_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['all', 'first'\]") as error:
        load_balancing_loss(plan_of(np.zeros((2, 3)), 1), choices="second")
    assert "choices='second'" in str(error.value)
