"""Balance without a loss: a bias that the load moves."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.balancing import BalancingRule
from keras_moe.balancing import ExpertBias
from keras_moe.layers import Router
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.routing import choose_top_k

EXPERTS, RATE = 4, 0.125
INPUTS = np.random.default_rng(0).normal(size=(2, 3, EXPERTS))
INPUTS = INPUTS.astype("float32")


def make_router(rule, **arguments):
    router = TopKRouter(EXPERTS, 2, balancing=rule, **arguments)
    router.build((None, None, EXPERTS))
    router.kernel.assign(np.eye(EXPERTS))
    return router


def bias_of(router):
    return np.array(ops.convert_to_numpy(router.expert_bias))


def expected_step(mask=None, bias=0.0):
    probs = testing.route(INPUTS, np.eye(EXPERTS), top_k=2).probs
    chosen = np.argsort(-(probs + bias), axis=-1, kind="stable")[..., :2]
    counts = testing.tokens_per_expert(chosen, EXPERTS, mask)
    return testing.expert_bias_update(counts, RATE)


@pytest.mark.parametrize("capacity", [None, Capacity(factor=0.1)])
def test_each_training_step_moves_the_bias_by_what_was_routed(capacity):
    router = make_router(ExpertBias(RATE), capacity=capacity)
    first = expected_step()
    router(INPUTS, training=True)
    np.testing.assert_array_equal(bias_of(router), first)
    # The second choice is made with the bias of the first.
    router(INPUTS, training=True)
    np.testing.assert_array_equal(
        bias_of(router), first + expected_step(bias=first)
    )
    assert not router.losses


def test_padding_does_not_move_the_bias():
    mask = np.array([[True, True, False], [False, True, False]])
    router = make_router(ExpertBias(RATE))
    router(INPUTS, padding_mask=mask, training=True)
    np.testing.assert_array_equal(bias_of(router), expected_step(mask))


@pytest.mark.parametrize("training", [False, None])
def test_the_bias_stays_outside_training(training):
    router = make_router(ExpertBias(RATE))
    router(INPUTS, training=training)
    assert not np.any(bias_of(router))


def test_a_rate_of_zero_and_a_frozen_router_leave_the_bias_but_use_it():
    bias = np.float32([0.0, 9.0, 0.0, 8.0])
    frozen = make_router(ExpertBias(RATE))
    frozen.trainable = False
    for router in (make_router(ExpertBias(0)), frozen):
        router.expert_bias.assign(bias)
        plan = router(INPUTS, training=True)
        np.testing.assert_array_equal(bias_of(router), bias)
        indices = ops.convert_to_numpy(plan.expert_indices)
        assert np.all(indices == [1, 3])


def test_the_bias_is_a_float32_weight_that_no_gradient_trains():
    router = make_router(ExpertBias(), dtype="float16")
    assert (
        keras.backend.standardize_dtype(router.expert_bias.dtype) == "float32"
    )
    assert tuple(router.expert_bias.shape) == (EXPERTS,)
    assert [each.name for each in router.trainable_weights] == ["kernel"]
    assert [each.name for each in router.weights] == ["kernel", "expert_bias"]


def test_without_the_rule_there_is_no_bias():
    router = make_router("load_balancing_loss")
    assert router.expert_bias is None
    assert router.selection_bias() is None


def test_biases_of_several_rules_are_added():
    class Fixed(BalancingRule):
        def selection_bias(self, router):
            return ops.convert_to_tensor([0.0, 9.0, 0.0, 0.0])

    router = make_router([ExpertBias(RATE), Fixed()])
    router.expert_bias.assign([0.0, 0.0, 9.0, 0.0])
    np.testing.assert_array_equal(
        ops.convert_to_numpy(router.selection_bias()), [0, 9, 9, 0]
    )
    indices = ops.convert_to_numpy(router(INPUTS).expert_indices)
    np.testing.assert_array_equal(
        np.sort(indices), np.full(indices.shape, [1, 2])
    )


def test_the_rule_survives_its_configuration():
    config = keras.saving.serialize_keras_object(ExpertBias(np.float32(0.5)))
    assert config["config"] == {**ExpertBias().get_config(), "rate": 0.5}
    revived = keras.saving.deserialize_keras_object(config)
    assert type(revived) is ExpertBias
    assert revived.rate == 0.5
    assert ExpertBias().rate == 0.001


@pytest.mark.parametrize("rate", [-0.1, float("nan")])
def test_a_negative_rate_is_refused(rate):
    with pytest.raises(ValueError, match="`rate` to be 0 or more") as error:
        ExpertBias(rate)
    assert f"rate={rate}" in str(error.value)


def test_a_step_is_proportional_or_centered_if_asked():
    logits = np.repeat(np.eye(4, dtype="float32"), [5, 2, 1, 0], axis=0)
    load = np.array([5, 2, 1, 0])
    signs, missing = np.sign(2 - load), (2 - load) / 2
    for arguments, expected in [
        ({"rule": "proportional"}, missing),
        ({"centered": True}, signs - signs.mean()),
        ({"rule": "proportional", "centered": True}, missing),
    ]:
        router = TopKRouter(4, 1, balancing=ExpertBias(RATE, **arguments))
        router.build((None, 4))
        router.kernel.assign(np.eye(4))
        router(logits, training=True)
        np.testing.assert_allclose(bias_of(router), RATE * expected, rtol=1e-6)


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'sign', 'proportional'") as error:
        ExpertBias(rule="linear")
    assert "rule='linear'" in str(error.value)


def test_a_router_that_does_not_heed_the_bias_is_refused():
    class Fixed(Router):
        def route(self, inputs, padding_mask=None, training=None):
            return choose_top_k(inputs, 2)

    Fixed(EXPERTS)(INPUTS)
    with pytest.raises(ValueError, match="to heed `self.selection") as error:
        Fixed(EXPERTS, balancing="expert_bias")(INPUTS)
    assert "`ExpertBias` moves" in str(error.value)
    assert "Leave the rule out" in str(error.value)
