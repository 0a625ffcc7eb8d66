"""Shazeer's loss that gives every expert the same number of tokens."""

import numpy as np
import pytest

from keras_moe.losses import load_loss
from keras_moe.routing import choose_top_k


def plan_of(logits, top_k, stddev=1.0):
    logits = np.asarray(logits, "float32")
    plan = choose_top_k(logits, top_k)
    scores = plan.scores._replace(
        noisy_logits=plan.scores.logits, noise_stddev=np.float32(stddev)
    )
    return plan._replace(scores=scores)


@pytest.mark.parametrize("own_threshold", [False, True])
def test_equal_loads_cost_nothing(own_threshold):
    plan = plan_of(5 * np.eye(4), 1)
    assert float(load_loss(plan, own_threshold)) == pytest.approx(0, abs=1e-9)


def test_without_noise_the_load_is_the_number_of_tokens():
    # 2, 1, 0 and 0 tokens of a mean of 3 / 4: 11 / 16 over 9 / 16.
    for stddev in (1e-3, 0.0):
        plan = plan_of(5 * np.eye(4)[[0, 0, 1]], 1, stddev)
        assert float(load_loss(plan)) == pytest.approx(11 / 9, rel=1e-6)


def test_all_experts_have_the_same_load_if_all_are_chosen():
    assert float(load_loss(plan_of(5 * np.eye(4)[[0, 0]], 4))) == 0.0


def test_a_router_without_noise_is_refused_with_the_cure():
    plan = choose_top_k(np.zeros((3, 4), "float32"), 1)
    with pytest.raises(ValueError, match="with normal noise") as error:
        load_loss(plan)
    assert "Use a `NoisyTopKRouter`" in str(error.value)
