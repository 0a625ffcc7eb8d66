"""Soft MoE: Puigcerver et al., 2023, equations 1 and 2, in NumPy."""

import numpy as np
import pytest
from keras import ops

from keras_moe.layers import SoftRouter
from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity
from keras_moe.routing import SoftSlots
from keras_moe.testing import run_layer_test

GROUPS, LENGTH, HIDDEN, INNER, EXPERTS, SLOTS = 2, 5, 4, 2, 3, 2
MASK = np.arange(LENGTH) < np.array([[5], [3]])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def unit(vectors, axis):
    # The 1e-6 of the paper's listing.
    norm = np.sqrt(np.sum(vectors**2, axis=axis, keepdims=True) + 1e-6)
    return vectors / norm


def slot_weights(inputs, kernel, scale):
    """Return what slots hold of tokens and tokens get of slots: (S, E * P)."""
    logits = unit(inputs, 1) @ (scale * unit(kernel.reshape(HIDDEN, -1), 0))
    shares = np.exp(logits)
    return shares / shares.sum(0), shares / shares.sum(1, keepdims=True)


@pytest.mark.sweep
def test_the_layer_contract():
    run_layer_test(
        SoftRouter,
        {
            "num_experts": 3,
            "slots_per_expert": 2,
            "kernel_initializer": "he_normal",
        },
        input_shape=(2, 4, 5),
        expected_output_shape=[
            (2, 4, 3, 2),
            (2, 4, 3, 2),
            (2, 3),
            (2, 4, 3),
            (2, 4, 3),
            (2, 4),
        ],
        expected_num_trainable_weights=2,
        expected_output_dtype="float32",
    )


def test_outputs_and_gradients_follow_the_paper(
    check_against_formula, expert_outputs
):
    router = SoftRouter(EXPERTS, SLOTS, name="router")
    layer = SparseMoE(EXPERTS, INNER, router=router)

    def formula(inputs, weights):
        outputs = np.zeros(inputs.shape)
        for g in range(GROUPS):
            tokens = inputs[g][MASK[g]]
            dispatch, combine = slot_weights(
                tokens, weights["router/kernel"], weights["router/scale"]
            )
            slots = (dispatch.T @ tokens).reshape(EXPERTS, SLOTS, HIDDEN)
            each = expert_outputs(slots, weights)
            own = np.stack([each[e, e] for e in range(EXPERTS)])
            outputs[g][MASK[g]] = combine @ own.reshape(-1, HIDDEN)
        return outputs, 0.0

    inputs = draw(GROUPS, LENGTH, HIDDEN)
    step = check_against_formula(layer, formula, inputs, MASK)
    assert not step.outputs[~MASK].any()


@pytest.mark.sweep
@pytest.mark.parametrize("shape", [(7, HIDDEN), (2, 2, 2, HIDDEN)])
def test_inputs_of_other_ranks_are_groups_as_in_a_sparse_layer(shape):
    router = SoftRouter(EXPERTS, SLOTS)
    inputs = draw(*shape)
    plan = router(inputs)
    assert isinstance(plan, SoftSlots)
    groups = inputs.reshape((1 if len(shape) == 2 else 2, -1, HIDDEN))
    for g, tokens in enumerate(groups):
        weights = slot_weights(tokens, numpy(router.kernel), 1.0)
        for actual, expected in zip(plan[:2], weights, strict=True):
            np.testing.assert_allclose(
                numpy(actual)[g],
                expected.reshape(-1, EXPERTS, SLOTS),
                rtol=1e-4,
                atol=1e-6,
            )
    probs = np.sum(numpy(plan.combine_weights), axis=-1)
    np.testing.assert_allclose(numpy(plan.scores.probs), probs, rtol=1e-6)


@pytest.mark.sweep
def test_padding_fills_no_slot_and_gets_nothing():
    mask = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], "bool")
    plan = SoftRouter(EXPERTS, SLOTS)(
        draw(GROUPS, LENGTH, HIDDEN), padding_mask=mask
    )
    for weights in (plan.dispatch_weights, plan.combine_weights):
        assert not numpy(weights)[~mask].any()
    total = np.sum(numpy(plan.dispatch_weights), axis=1)
    np.testing.assert_allclose(total[0], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(total[1], 0.0)
    assert numpy(plan.reached()).tolist() == mask.tolist()


@pytest.mark.sweep
def test_the_statistics_say_that_all_experts_are_equally_busy():
    layer = SparseMoE(EXPERTS, INNER, router=SoftRouter(EXPERTS, SLOTS))
    layer.statistics.enabled = True
    layer(draw(GROUPS, LENGTH, HIDDEN), padding_mask=MASK, training=True)
    result = layer.statistics.result()
    # SLOTS rows for each of GROUPS.
    assert result["tokens_per_expert"].tolist() == EXPERTS * [4]
    assert result["max_violation"] == pytest.approx(0.0, abs=1e-6)
    assert result["dropped_fraction"] == result["unrouted_fraction"] == 0.0


@pytest.mark.once
def test_a_capacity_and_rules_that_even_the_load_are_refused():
    with pytest.raises(ValueError, match="no `capacity` for a SoftRouter"):
        SoftRouter(EXPERTS, capacity=Capacity(1.0))
    with pytest.raises(ValueError, match="equally busy anyway"):
        SoftRouter(EXPERTS, balancing="load_balancing_loss")


@pytest.mark.once
def test_the_number_of_slots_must_be_positive():
    with pytest.raises(ValueError, match="`slots_per_expert` to be a positive"):
        SoftRouter(EXPERTS, 0)
