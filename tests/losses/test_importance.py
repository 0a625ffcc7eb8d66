"""Shazeer's loss that gives every expert the same importance."""

import numpy as np
import pytest

from keras_moe.losses import importance_loss
from keras_moe.routing import CombineWeights
from keras_moe.routing import choose_top_k


def test_equal_importance_costs_nothing_and_one_expert_costs_e_minus_one():
    equal = choose_top_k(9 * np.eye(4, dtype="float32"), top_k=1)
    assert float(importance_loss(equal)) == pytest.approx(0.0, abs=1e-9)
    # (w, 0, 0, 0): the variance is 3 w^2 / 16, the mean w / 4.
    one = choose_top_k(9 * np.eye(4, dtype="float32")[[0, 0]], top_k=1)
    assert float(importance_loss(one)) == pytest.approx(3.0, rel=1e-6)


def test_a_common_scale_has_no_effect():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    plain, scaled = (
        importance_loss(choose_top_k(logits, 2, "sigmoid", weights))
        for weights in (None, CombineWeights(scale=16.0))
    )
    assert float(scaled) == pytest.approx(float(plain), rel=1e-5)


def test_what_is_weighted_is_named():
    plan = choose_top_k(np.zeros((3, 4), "float32"), 1)
    with pytest.raises(ValueError, match="'combine_weights', 'pr") as error:
        importance_loss(plan, of="load")
    assert "of='load'" in str(error.value)
