"""The loss that keeps the router's logits small."""

import math

import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.losses import router_z_loss
from keras_moe.routing import choose_top_k


def test_known_logits():
    # logsumexp of (log 1, log 3) is log 4, of (log 2, log 6) it is log 8.
    logits = np.log(np.array([[1, 3], [2, 6]], "float32"))
    expected = (math.log(4) ** 2 + math.log(8) ** 2) / 2
    loss = router_z_loss(choose_top_k(logits, top_k=1))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_padding_is_excluded_and_nothing_but_padding_costs_nothing():
    logits = np.log(np.array([[1, 3], [50, 50], [2, 6]], "float32"))
    mask = np.array([True, False, True])
    expected = (math.log(4) ** 2 + math.log(8) ** 2) / 2
    loss = router_z_loss(choose_top_k(logits, 1, padding_mask=mask))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    nothing = choose_top_k(logits, 1, padding_mask=np.zeros(3, bool))
    assert float(router_z_loss(nothing)) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_logits_of_ten_thousand_do_not_overflow(dtype):
    # Squared, 1e8 is beyond float16's 65504.
    logits = ops.cast(np.array([[1e4, 0.0, -1e4]]), dtype)
    logit = float(ops.cast(logits, "float32")[0, 0])
    loss = router_z_loss(choose_top_k(logits, top_k=1))
    assert float(loss) == pytest.approx(logit**2, rel=1e-6)


def test_the_loss_agrees_with_the_oracle():
    logits = np.random.default_rng(0).standard_normal((4, 3, 7))
    mask = np.random.default_rng(1).random((4, 3)) > 0.3
    plan = choose_top_k(logits.astype("float32"), 2, padding_mask=mask)
    assert float(router_z_loss(plan)) == pytest.approx(
        testing.router_z_loss(logits, mask), rel=1e-5
    )


def test_a_plan_without_scores_has_no_loss():
    plan = choose_top_k(np.zeros((2, 3), "float32"), 1)._replace(scores=None)
    with pytest.raises(ValueError, match="a router with scores"):
        router_z_loss(plan)
