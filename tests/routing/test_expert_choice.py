"""Plans in which experts choose, by themselves."""

import numpy as np
import pytest
from keras import ops

from keras_moe.losses import load_balancing_loss
from keras_moe.metrics import dropped_fraction
from keras_moe.metrics import unrouted_fraction
from keras_moe.routing import ExpertChoice
from keras_moe.routing import choose_tokens
from keras_moe.routing import choose_top_k
from keras_moe.routing import mix_tokens

MASK = np.array([[True, True, False, True]])
LOGITS = np.random.default_rng(0).normal(size=(1, 4, 2)).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def test_a_plan_that_did_not_heed_the_mask_is_completed():
    plan = ExpertChoice(
        np.array([[[2, 0], [1, 4]]], "int32"),
        np.full((1, 2, 2), 0.5, "float32"),
        np.array([[2, 2]], "int32"),
        choose_top_k(LOGITS, 1).scores,
    )
    plan = plan.complete(MASK, num_experts=2)
    # Token 2 is padding; token 4 is nowhere already.
    assert numpy(plan.token_indices).tolist() == [[[4, 0], [1, 4]]]
    assert numpy(plan.combine_weights).tolist() == [[[0, 0.5], [0.5, 0]]]
    assert numpy(plan.tokens_per_expert).tolist() == [[1, 1]]
    assert numpy(plan.scores.padding_mask).tolist() == MASK.tolist()
    assert numpy(plan.reached()).tolist() == [[True, True, False, False]]
    # Token 3 of three.
    assert float(unrouted_fraction(plan)) == pytest.approx(1 / 3)


@pytest.mark.sweep
def test_soft_slots_that_did_not_heed_the_mask_are_completed():
    plan = mix_tokens(LOGITS[..., None]).complete(MASK, num_experts=2)
    for weights in (plan.dispatch_weights, plan.combine_weights):
        assert not numpy(weights)[:, 2].any()
        assert numpy(weights)[:, [0, 1, 3]].all()
    assert numpy(plan.scores.padding_mask).tolist() == MASK.tolist()


@pytest.mark.sweep
def test_an_equal_load_has_a_balancing_loss_of_1_and_drops_nothing():
    for plan in (choose_tokens(LOGITS, 2, MASK), mix_tokens(LOGITS[..., None])):
        assert float(load_balancing_loss(plan)) == pytest.approx(1.0, rel=1e-5)
        assert float(dropped_fraction(plan)) == 0.0
    # No real token, no load.
    plan = choose_tokens(LOGITS, 2, np.zeros((1, 4), bool))
    assert float(load_balancing_loss(plan)) == 0.0
    assert float(unrouted_fraction(plan)) == 0.0
