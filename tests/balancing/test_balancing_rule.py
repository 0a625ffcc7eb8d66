"""Balancing by a loss: what rules are and what a router makes of them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.balancing import BalancingRule
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import TopKRouter
from keras_moe.losses import load_balancing_loss
from keras_moe.losses import router_z_loss
from keras_moe.routing import Capacity
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens

CASES = [
    (LoadBalancingLoss, load_balancing_loss, 0.01),
    (RouterZLoss, router_z_loss, 0.001),
]
LOGITS = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")


@pytest.mark.parametrize(("rule", "loss", "default"), CASES)
def test_a_rule_is_its_loss_times_the_weight(rule, loss, default, vjp):
    assert rule().weight == default

    def plan_of(logits):
        return count_tokens(choose_top_k(logits, 2), 4)

    arguments = (LOGITS,), np.ones(())
    plain, (plain_gradient,) = vjp(lambda x: loss(plan_of(x)), *arguments)
    value, (gradient,) = vjp(lambda x: rule(0.5)(plan_of(x)), *arguments)
    np.testing.assert_allclose(value, 0.5 * plain, rtol=1e-6)
    np.testing.assert_allclose(gradient, 0.5 * plain_gradient, rtol=1e-6)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize(("rule", "loss", "default"), CASES)
def test_a_weight_of_zero_adds_no_loss(rule, loss, default):
    assert rule(0)(choose_top_k(LOGITS, 2)) is None
    router = TopKRouter(4, balancing=rule(0))
    router(LOGITS, training=True)
    assert not router.losses


@pytest.mark.parametrize(("rule", "loss", "default"), CASES)
def test_a_rule_survives_its_configuration(rule, loss, default):
    config = keras.saving.serialize_keras_object(rule(np.float32(0.5)))
    assert config["config"] == {**rule().get_config(), "weight": 0.5}
    revived = keras.saving.deserialize_keras_object(config)
    assert type(revived) is rule
    assert revived.weight == 0.5


@pytest.mark.parametrize(("rule", "loss", "default"), CASES)
@pytest.mark.parametrize("weight", [-0.1, float("nan")])
def test_a_negative_weight_is_refused(rule, loss, default, weight):
    with pytest.raises(ValueError, match="`weight` to be 0 or more") as error:
        rule(weight)
    assert f"weight={weight}" in str(error.value)


def test_a_router_adds_its_losses_in_order_before_anything_is_dropped():
    router = TopKRouter(
        4,
        balancing=[RouterZLoss(0.5), LoadBalancingLoss(2.0)],
        capacity=Capacity(factor=0.1),
    )
    router.build((None, None, 4))
    router.kernel.assign(np.eye(4))
    mask = np.array([[True, True, False], [True, False, False]])
    router(LOGITS, padding_mask=mask, training=True)
    expected = testing.route(LOGITS, np.eye(4), top_k=2, padding_mask=mask)
    np.testing.assert_allclose(
        [float(ops.convert_to_numpy(loss)) for loss in router.losses],
        [
            0.5 * testing.router_z_loss(LOGITS, mask),
            2.0
            * testing.load_balancing_loss(
                expected.expert_indices, expected.probs, mask
            ),
        ],
        rtol=1e-5,
    )
    # Nothing is added outside training.
    router(LOGITS, padding_mask=mask)
    assert not router.losses


def test_a_rule_of_ones_own_is_a_loss_like_any_other():
    class SmallLogits(BalancingRule):
        def __call__(self, plan):
            return 0.5 * ops.mean(plan.scores.logits**2)

    router = TopKRouter(4, balancing=SmallLogits())
    router.build((None, None, 4))
    router.kernel.assign(np.eye(4))
    router(LOGITS, training=True)
    (loss,) = router.losses
    assert float(ops.convert_to_numpy(loss)) == pytest.approx(
        0.5 * np.mean(LOGITS.astype("float64") ** 2), rel=1e-5
    )
    assert SmallLogits().get_config() == {}
    assert isinstance(SmallLogits.from_config({}), SmallLogits)


def test_a_rule_does_nothing_unless_it_says_so():
    rule, router = BalancingRule(), TopKRouter(4, balancing=None)
    plan = router(LOGITS)
    assert rule(plan) is rule.selection_bias(router) is None
    rule.build(router)
    rule.update(plan, router)
    assert [weight.name for weight in router.weights] == ["kernel"]
