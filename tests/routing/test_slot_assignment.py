"""Who gets a slot when an expert has fewer slots than candidates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens
from keras_moe.routing.slot_assignment import ORDERS
from keras_moe.routing.slot_assignment import PRIORITIES
from keras_moe.routing.slot_assignment import grouped_shape

GROUPS, LENGTH, EXPERTS, TOP_K = 2, 6, 4, 2


def plan_of(router_probs, top_k, padding_mask=None):
    """A plan with exactly these scores."""
    return choose_top_k(
        np.asarray(router_probs, "float32"),
        top_k,
        score_function=lambda logits: logits,
        padding_mask=padding_mask,
    )


def slots_and_kept(plan, capacity, priority="position", *more):
    """Where each pair goes, and whether it goes anywhere."""
    limited = assign_slots(plan, EXPERTS, capacity, priority, *more)
    kept = ops.convert_to_numpy(limited.expert_indices) < EXPERTS
    assert limited.capacity == capacity
    for name in ("expert_indices", "combine_weights"):
        before, after = (
            ops.convert_to_numpy(getattr(each, name))
            for each in (plan, limited)
        )
        nowhere = EXPERTS if name == "expert_indices" else 0.0
        np.testing.assert_array_equal(after, np.where(kept, before, nowhere))
    return ops.convert_to_numpy(limited.slots), kept


def test_first_choices_come_before_second_choices():
    # Token 0 wants experts 0 then 1, token 1 wants 1 then 0.
    plan = plan_of([[[0.6, 0.4, 0, 0], [0.4, 0.6, 0, 0]]], top_k=2)
    slots, kept = slots_and_kept(plan, capacity=1)
    # Expert 1: first token 1's first choice, then token 0's second one.
    np.testing.assert_array_equal(slots, [[[0, 1], [0, 1]]])
    np.testing.assert_array_equal(kept, [[[True, False], [True, False]]])


def test_earlier_tokens_come_first_by_position_and_surer_ones_by_score():
    plan = plan_of([[[0.5, 0, 0, 0], [0.7, 0, 0, 0], [0.9, 0, 0, 0]]], top_k=1)
    slots, kept = slots_and_kept(plan, 2, "position")
    np.testing.assert_array_equal(slots[0, :, 0], [0, 1, 2])
    np.testing.assert_array_equal(kept[0, :, 0], [True, True, False])
    slots, kept = slots_and_kept(plan, 2, "score")
    np.testing.assert_array_equal(slots[0, :, 0], [2, 1, 0])
    np.testing.assert_array_equal(kept[0, :, 0], [False, True, True])


def test_a_tokens_choices_may_come_together():
    # Token 0 wants experts 0 then 1, token 1 wants 1 then 0.
    plan = plan_of([[[0.6, 0.4, 0, 0], [0.4, 0.6, 0, 0]]], top_k=2)
    _, kept = slots_and_kept(plan, 1, "position", "token")
    np.testing.assert_array_equal(kept, [[[True, True], [False, False]]])


def test_pairs_may_compete_by_their_own_score():
    # For expert 1: a second choice of 0.4, a first one of 0.3.
    plan = plan_of([[[0.6, 0.4, 0, 0], [0, 0.3, 0.2, 0.1]]], top_k=2)
    slots, _ = slots_and_kept(plan, 1, "pair_score", "choice")
    np.testing.assert_array_equal(slots, [[[0, 1], [0, 0]]])
    slots, _ = slots_and_kept(plan, 1, "pair_score", "token")
    np.testing.assert_array_equal(slots, [[[0, 0], [1, 0]]])


def test_slots_may_be_drawn_by_lot():
    plan = plan_of(np.tile([0.9, 0, 0, 0], (1, 40, 1)), top_k=1)
    drawn = [
        slots_and_kept(plan, 10, "random", "choice", seed)[0][0, :, 0]
        for seed in (0, 0, 1)
    ]
    for slots in drawn:
        np.testing.assert_array_equal(np.sort(slots), np.arange(40))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.any(drawn[0] != drawn[2])
    assert np.any(drawn[0] != np.arange(40))


def test_a_plan_that_is_limited_is_limited_again():
    # Three tokens want expert 0, one wants expert 1.
    plan = plan_of([[[0.9, 0, 0, 0]] * 3 + [[0, 0.9, 0, 0]]], top_k=1)
    once = assign_slots(plan, EXPERTS, capacity=2)
    twice = assign_slots(once, EXPERTS, capacity=1)
    indices = ops.convert_to_numpy(twice.expert_indices)
    np.testing.assert_array_equal(indices[0, :, 0], [0, 4, 4, 1])
    assert ops.convert_to_numpy(twice.slots)[0, 3, 0] == 0
    counts = ops.convert_to_numpy(twice.tokens_per_expert)
    np.testing.assert_array_equal(counts, [[3, 1, 0, 0]])


def test_equal_scores_keep_the_order_of_positions():
    plan = plan_of(np.full((1, 40, 4), 0.25), top_k=1)
    slots, _ = slots_and_kept(plan, 40, "score")
    np.testing.assert_array_equal(slots[0, :, 0], np.arange(40))


@pytest.mark.parametrize("priority", PRIORITIES)
def test_padding_takes_no_slot(priority):
    mask = np.array([[False, True, False, True]])
    plan = plan_of(np.tile([0.9, 0, 0, 0], (1, 4, 1)), 1, mask)
    slots, kept = slots_and_kept(plan, 2, priority)
    np.testing.assert_array_equal(kept[0, :, 0], mask[0])
    assert sorted(slots[0, [1, 3], 0]) == [0, 1]
    if priority != "random":
        assert slots[0, 1, 0] == 0


def test_groups_do_not_share_slots():
    plan = plan_of(np.tile([0.9, 0, 0, 0], (3, 2, 1)), top_k=1)
    _, kept = slots_and_kept(plan, 1)
    np.testing.assert_array_equal(kept[..., 0], [[True, False]] * 3)


@pytest.mark.sweep
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, LENGTH),
    st.sampled_from(["position", "score", "pair_score"]),
    st.sampled_from(ORDERS),
)
def test_kept_pairs_agree_with_the_oracle(seed, capacity, priority, order):
    rng = np.random.default_rng(seed)
    # Tenths, so that scores often tie.
    probs = rng.integers(0, 5, (GROUPS, LENGTH, EXPERTS)) / np.float32(10)
    mask = rng.random((GROUPS, LENGTH)) > 0.2
    plan = plan_of(probs, TOP_K, mask)
    indices = ops.convert_to_numpy(plan.expert_indices)
    slots, kept = slots_and_kept(plan, capacity, priority, order)
    expected = testing.drop(indices, probs, mask, capacity, priority, order)
    np.testing.assert_array_equal(kept, expected)
    for group in range(GROUPS):
        for expert in range(EXPERTS):
            used = slots[group][kept[group] & (indices[group] == expert)]
            # Without gaps from 0, each slot once.
            assert sorted(used) == list(range(len(used)))


def test_an_unknown_priority_is_refused_with_the_known_ones():
    plan = plan_of(np.zeros((1, 3, 4)), 1)
    known = r"\['position', 'score', 'pair_score', 'random'\]"
    with pytest.raises(ValueError, match=known) as error:
        assign_slots(plan, 4, 1, priority="rank")
    assert "priority='rank'" in str(error.value)
    with pytest.raises(ValueError, match=r"\['choice', 'token'\]") as error:
        assign_slots(plan, 4, 1, order="rank")
    assert "order='rank'" in str(error.value)


def test_a_plan_keeps_the_counts_of_what_was_routed():
    plan = plan_of([[[0.9, 0, 0, 0]] * 3, [[0, 0.9, 0, 0]] * 3], top_k=1)
    routed = [[3, 0, 0, 0], [0, 3, 0, 0]]
    # Counted before, as by a router, or along the way.
    for each in (plan, count_tokens(plan, EXPERTS)):
        limited = assign_slots(each, EXPERTS, capacity=1)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(limited.tokens_per_expert), routed
        )
    assert limited.scores is plan.scores


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize("priority", ["position", "score", "pair_score"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_row_of_the_batch_is_a_group_and_rank_two_is_one(priority, order):
    rng = np.random.default_rng(0)
    probs = rng.random((GROUPS, LENGTH, EXPERTS)).astype("float32")
    slots, kept = slots_and_kept(plan_of(probs, TOP_K), 2, priority, order)
    assert not kept.all()
    for shape in ((GROUPS, 2, 3), (GROUPS, 3, 1, 2)):
        plan = plan_of(probs.reshape(*shape, EXPERTS), TOP_K)
        other = slots_and_kept(plan, 2, priority, order)
        for actual, expected in zip(other, (slots, kept), strict=True):
            assert actual.shape == (*shape, TOP_K)
            np.testing.assert_array_equal(
                actual.reshape(expected.shape), expected
            )
    whole = slots_and_kept(plan_of(probs[:1], TOP_K), 2, priority, order)
    flat = slots_and_kept(plan_of(probs[0], TOP_K), 2, priority, order)
    for actual, expected in zip(flat, whole, strict=True):
        np.testing.assert_array_equal(actual, expected[0])


def test_the_shape_of_groups():
    assert grouped_shape(np.zeros((7, 2))) == (1, 7, 2)
    assert grouped_shape(np.zeros((3, 7, 2))) == (3, 7, 2)
    assert grouped_shape(np.zeros((3, 4, 5, 2))) == (3, 20, 2)


def test_scores_have_no_say_without_scores():
    plan = plan_of(np.full((1, 3, 4), 0.25), 1)._replace(scores=None)
    slots, kept = slots_and_kept(plan, 2)
    np.testing.assert_array_equal(slots[0, :, 0], [0, 1, 2])
    np.testing.assert_array_equal(kept[0, :, 0], [True, True, False])
    for priority in ("score", "pair_score"):
        with pytest.raises(ValueError, match="a router with scores") as error:
            assign_slots(plan, EXPERTS, 2, priority)
        assert f"priority='{priority}'" in str(error.value)
        assert "Use `priority='position'`" in str(error.value)


def test_no_gradient_reaches_a_dropped_pair(vjp):
    logits = np.float32([[[3.0, 1, 0, 0], [3.0, 0, 1, 0]]])

    def weights(logits):
        plan = choose_top_k(logits, 1)
        return assign_slots(plan, EXPERTS, capacity=1).combine_weights

    value, (gradient,) = vjp(weights, (logits,), np.ones((1, 2, 1)))
    # Token 1 finds no slot. Token 0 has p = e^3 / (e^3 + e + 2).
    probs = np.exp(logits[0, 0]) / np.exp(logits[0, 0]).sum()
    np.testing.assert_allclose(value[0, :, 0], [probs[0], 0.0], rtol=1e-6)
    wanted = probs[0] * ([1.0, 0, 0, 0] - probs)
    np.testing.assert_allclose(gradient[0, 0], wanted, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(gradient[0, 1], 0.0)
