"""Entropies of the router's distribution as losses."""

import math

import numpy as np
import pytest

from keras_moe.losses import mean_entropy_loss
from keras_moe.losses import token_entropy_loss
from keras_moe.routing import choose_top_k


def test_a_router_that_is_sure_of_different_experts_costs_nothing():
    # Each of 4 experts has a token of its own: the mean is uniform.
    plan = choose_top_k(50 * np.eye(4, dtype="float32"), top_k=1)
    assert float(token_entropy_loss(plan)) == pytest.approx(0.0, abs=1e-6)
    assert float(mean_entropy_loss(plan)) == pytest.approx(0.0, abs=1e-6)


def test_a_router_that_is_sure_of_one_expert_lacks_all_entropy():
    plan = choose_top_k(50 * np.eye(4, dtype="float32")[[0, 0]], top_k=1)
    assert float(mean_entropy_loss(plan)) == pytest.approx(math.log(4))
    assert float(mean_entropy_loss(plan, 0.5)) == pytest.approx(0.5)


def test_more_entropy_than_the_threshold_costs_nothing():
    plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=1)
    assert float(token_entropy_loss(plan)) == pytest.approx(math.log(4))
    assert float(mean_entropy_loss(plan, threshold=1.0)) == 0.0
