"""Slots per expert per group."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.routing import Capacity
from keras_moe.routing import CombineWeights
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import expert_capacity
from keras_moe.routing.slot_assignment import ORDERS
from keras_moe.routing.slot_assignment import PRIORITIES


@pytest.mark.parametrize(
    ("factor", "group_size", "top_k", "num_experts", "expected"),
    [
        (1.0, 16, 2, 8, 4),  # exactly balanced: 32 pairs on 8 experts
        (1.25, 16, 2, 8, 5),
        (1.0, 10, 1, 4, 3),  # 2.5, rounded up
        (1.1, 100, 1, 10, 11),  # 11.000000000000002 in floats
        (0.1, 3, 1, 8, 1),  # never without a slot
        (2.0, 1, 1, 1, 2),
    ],
)
def test_capacity_is_the_equal_share_times_the_factor_rounded_up(
    factor, group_size, top_k, num_experts, expected
):
    assert expert_capacity(factor, group_size, top_k, num_experts) == expected


@given(
    st.sampled_from([0.01, 0.5, 0.7, 1.0, 1.1, 1.25, 4 / 3, 2.0, 7.3]),
    st.integers(1, 5000),
    st.integers(1, 8),
    st.integers(1, 256),
)
def test_capacity_agrees_with_the_oracle(factor, size, top_k, num_experts):
    factor = round(factor, 4)
    expected = testing.capacity(factor, size, top_k, num_experts)
    assert expert_capacity(factor, size, top_k, num_experts) == expected


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="JAX knows every length"
)
@pytest.mark.parametrize("size", [1, 10, 100, 123_456])
@pytest.mark.parametrize("factor", [0.3, 1.1, 1.25])
def test_a_length_unknown_while_tracing_gives_the_same_number(size, factor):
    capacity = expert_capacity(factor, ops.convert_to_tensor(size), 2, 10)
    assert ops.is_tensor(capacity)
    assert int(capacity) == expert_capacity(factor, size, 2, 10)


@pytest.mark.parametrize("factor", [0, 0.0, -1.25])
def test_a_factor_that_is_not_positive_is_refused(factor):
    with pytest.raises(ValueError, match="`None` for dropless") as error:
        expert_capacity(factor, 16, 2, 8)
    assert f"capacity_factor={factor}" in str(error.value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("slots", "group_size", "expected"), [(64, 10, 10), (3, 10, 3), (1, 1, 1)]
)
def test_a_fixed_capacity_leaves_out_what_cannot_be_filled(
    slots, group_size, expected, training
):
    capacity = Capacity(slots=slots)
    assert capacity.per_expert(group_size, 2, 4, training) == expected
    size = ops.convert_to_tensor(group_size)
    assert int(capacity.per_expert(size, 2, 4, training)) == expected


def test_each_factor_has_its_own_time():
    capacity = Capacity(factor=1.0, eval_factor=2.0)
    assert capacity.per_expert(16, 2, 8, training=True) == 4
    assert capacity.per_expert(16, 2, 8, training=False) == 8
    assert capacity.per_expert(16, 2, 8, training=None) == 8
    assert Capacity(factor=1.0).per_expert(16, 2, 8, training=False) is None
    assert Capacity(eval_factor=1.0).per_expert(16, 2, 8, training=True) is None


def test_slots_are_rounded_up_to_a_multiple():
    capacity = Capacity(factor=1.25, multiple_of=4)
    # 5 and 4 slots before.
    assert capacity.per_expert(16, 2, 8, training=True) == 8
    assert capacity.per_expert(13, 2, 8, training=True) == 8
    assert capacity.per_expert(12, 2, 8, training=True) == 4
    assert Capacity(slots=3, multiple_of=2).per_expert(2, 1, 4, True) == 2
    capacity, size = (
        Capacity(slots=13, multiple_of=4),
        ops.convert_to_tensor(10),
    )
    assert int(capacity.per_expert(size, 2, 8, training=True)) == 12
    assert Capacity(multiple_of=4).per_expert(16, 2, 8, True) is None


def test_a_capacity_limits_as_slots_are_assigned():
    scores = np.float32([[0.5, 0, 0, 0], [0.7, 0, 0, 0], [0.9, 0, 0, 0]])
    for plan in (choose_top_k(scores[None], 1), choose_top_k(scores, 1)):
        # ceil(2 * 3 * 1 / 4) = 2
        capacity = Capacity(factor=2.0, priority="score")
        assert capacity.limit(plan, 4, training=False) is plan
        limited = capacity.limit(plan, 4, training=True)
        expected = assign_slots(plan, 4, 2, "score")
        assert limited.capacity == 2
        indices = ops.convert_to_numpy(limited.expert_indices)
        np.testing.assert_array_equal(indices.ravel(), [4, 0, 0])
        for actual, wanted in zip(limited[:3], expected[:3], strict=True):
            np.testing.assert_array_equal(
                ops.convert_to_numpy(actual), ops.convert_to_numpy(wanted)
            )


@pytest.mark.sweep
def test_kept_weights_may_take_over_what_the_dropped_ones_had(vjp):
    # Expert 0 takes one of two tokens; token 1 keeps its second choice.
    logits = np.float32([[[2, 1, 0, 0], [2, 0, 1, 0]]])
    capacity = Capacity(slots=1, renormalize=True)

    def weights(logits):
        plan = choose_top_k(logits, 2, combine_weights=CombineWeights(scale=3))
        return capacity.limit(plan, 4, training=True).combine_weights

    cotangent = np.float32([[[1, 0], [1, 1]]])
    value, (gradient,) = vjp(weights, (logits,), cotangent)
    first = np.exp(2) / (np.exp(2) + np.exp(1))
    expected = [[3 * first, 3 * (1 - first)], [0, 3]]
    np.testing.assert_allclose(value[0], expected, rtol=1e-5)
    slope = 3 * first * (1 - first)
    expected = [[slope, -slope, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-4, atol=1e-6)
    # A token without any slot stays without.
    logits = np.zeros((1, 2, 4), "float32")
    plan = capacity.limit(choose_top_k(logits, 1), 4, training=True)
    weights = ops.convert_to_numpy(plan.combine_weights)
    np.testing.assert_allclose(weights[0, :, 0], [0.25, 0], rtol=1e-6)


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("priority", PRIORITIES)
@pytest.mark.parametrize("offset", [-200.0, 1e4])
def test_one_slot_is_finite_forward_and_backward(offset, priority, order, vjp):
    logits = np.random.default_rng(0).normal(size=(3, 5, 4)) + offset
    # The last row is padding alone.
    mask = np.arange(5) < np.array([[5], [3], [0]])
    capacity = Capacity(
        slots=1, priority=priority, order=order, renormalize=True
    )

    def weights(logits):
        plan = choose_top_k(logits, 4, "sigmoid", padding_mask=mask)
        return capacity.limit(plan, 4, True, seed=0).combine_weights

    value, (gradient,) = vjp(
        weights, (logits.astype("float32"),), np.ones((3, 5, 4))
    )
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(gradient))
    # One pair for each of four experts; a token's weights sum to 1.
    assert (value > 0).sum(axis=(1, 2)).tolist() == [4, 4, 0]
    totals = value.sum(axis=-1)
    np.testing.assert_allclose(totals[totals > 0], 1.0, rtol=1e-5)


def test_lots_are_drawn_while_training_only():
    plan = choose_top_k(np.zeros((1, 40, 4), "float32"), 1)
    capacity = Capacity(slots=4, priority="random", seed=3)
    drawn = []
    for seed in (capacity.seed_generator(), capacity.seed_generator(), None):
        training = seed is not None
        limited = capacity.limit(plan, 4, training, seed)
        kept = ops.convert_to_numpy(limited.expert_indices)[0, :, 0] == 0
        assert kept.sum() == 4
        drawn.append(np.flatnonzero(kept).tolist())
    assert drawn[0] == drawn[1] != drawn[2] == [0, 1, 2, 3]
    assert Capacity(slots=4).seed_generator() is None


@pytest.mark.parametrize("name", ["factor", "eval_factor"])
@pytest.mark.parametrize("factor", [0, -1.25, float("nan"), float("inf")])
def test_the_factor_that_is_wrong_is_named(name, factor):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be") as error:
        Capacity(**{name: factor})
    assert f"Received: {name}={factor}" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": 0}, "`slots` to be a positive integer"),
        ({"slots": 2.5}, "`slots` to be a positive integer"),
        ({"multiple_of": 0}, "`multiple_of` to be a positive integer"),
        ({"priority": "rank"}, r"\['position', 'score', 'pair_score', 'ra"),
        ({"order": "rank"}, r"\['choice', 'token'\]"),
        ({"slots": 4, "factor": 1.0}, "not both.*Leave one out"),
        ({"slots": 4, "eval_factor": 1.0}, "not both.*Leave one out"),
    ],
)
def test_a_capacity_is_given_in_one_way(arguments, message):
    with pytest.raises(ValueError, match=message):
        Capacity(**arguments)


def test_numpy_scalars_are_numbers():
    slots = expert_capacity(
        np.float32(1.1), np.int32(10), np.int8(1), np.uint8(1)
    )
    assert type(slots) is int
    assert slots == 11
    # 1.25 * 2^30 * 2 / 4, whose steps do not fit int32.
    slots = expert_capacity(
        np.float16(1.25), np.int32(2**30), np.int32(2), np.int32(4)
    )
    assert slots == 5 * 2**27
    slots = Capacity(slots=np.int64(64)).per_expert(np.int32(10), 2, 4, True)
    assert type(slots) is int
    assert slots == 10
