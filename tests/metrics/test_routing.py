"""Numbers that say how well the experts are used."""

import math

import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.metrics import dropped_fraction
from keras_moe.metrics import max_violation
from keras_moe.metrics import router_entropy
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens


@pytest.mark.parametrize("num_experts", [2, 8])
def test_an_undecided_router_has_the_entropy_of_a_fair_die(num_experts):
    plan = choose_top_k(np.zeros((3, num_experts), "float32"), top_k=1)
    assert float(router_entropy(plan)) == pytest.approx(math.log(num_experts))


def test_a_certain_router_has_none():
    plan = choose_top_k(1000 * np.eye(4, dtype="float32"), top_k=1)
    assert float(router_entropy(plan)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_the_entropy_agrees_with_the_oracle_without_padding(score_function):
    logits = np.random.default_rng(0).standard_normal((2, 5, 7))
    mask = np.random.default_rng(1).random((2, 5)) > 0.3
    plan = choose_top_k(
        logits.astype("float32"), 2, score_function, padding_mask=mask
    )
    expected = testing.router_entropy(
        ops.convert_to_numpy(plan.scores.probs), mask
    )
    assert float(router_entropy(plan)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("center", [-60.0, -200.0, 200.0])
def test_the_entropy_of_scores_near_zero_and_one(center):
    logits = np.random.default_rng(0).normal(center, 1.0, (16, 8))
    logits = logits.astype("float32")
    log_scores = -np.logaddexp(0.0, -logits.astype("float64"))
    expected = testing.router_entropy(np.exp(log_scores))
    entropy = float(router_entropy(choose_top_k(logits, 2, "sigmoid")))
    assert entropy == pytest.approx(expected, rel=1e-5)


def test_dropped_pairs_of_real_tokens_are_counted():
    mask = np.array([[True, True, False]])
    plan = choose_top_k(np.zeros((1, 3, 4), "float32"), 2, padding_mask=mask)
    assert float(dropped_fraction(plan)) == 0.0
    # Experts 0 and 1 take one token each; the padding token's two pairs do
    # not count.
    plan = assign_slots(plan, 4, capacity=1)
    assert float(dropped_fraction(plan)) == 0.5
    # One of four pairs.
    plan = plan._replace(expert_indices=np.array([[[0, 4], [0, 1], [4, 4]]]))
    assert float(dropped_fraction(plan)) == 0.25


def test_no_real_token_drops_nothing_and_has_no_entropy():
    mask = np.zeros((1, 3), bool)
    plan = choose_top_k(np.zeros((1, 3, 4), "float32"), 2, padding_mask=mask)
    assert float(dropped_fraction(plan)) == 0.0
    assert float(dropped_fraction(assign_slots(plan, 4, capacity=1))) == 0.0
    assert float(router_entropy(plan)) == 0.0


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ([5, 5, 5], 0.0),
        ([0.5, 0.25, 0.25, 0.0], 1.0),
        ([7, 0, 0], 2.0),  # E - 1 at worst
        ([0, 0], 0.0),
    ],
)
def test_the_largest_violation_is_the_excess_over_an_equal_share(
    load, expected
):
    assert max_violation(load) == pytest.approx(expected)
    if all(isinstance(count, int) for count in load):
        assert testing.max_violation(load) == pytest.approx(expected)


def test_what_is_dropped_needs_counts_and_no_scores():
    plan = choose_top_k(np.zeros((2, 3, 4), "float32"), 1)
    plan = count_tokens(plan, 4)._replace(scores=None)
    plan = assign_slots(plan, 4, capacity=2)
    assert float(dropped_fraction(plan)) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="a router with scores"):
        router_entropy(plan)
