"""Who gets a slot when an expert has fewer slots than candidates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import keep_all

GROUPS, LENGTH, EXPERTS, TOP_K = 2, 6, 4, 2


def plan_of(router_probs, top_k, padding_mask=None):
    """A plan with exactly these scores."""
    return choose_top_k(
        np.asarray(router_probs, "float32"),
        top_k,
        score_function=lambda logits: logits,
        padding_mask=padding_mask,
    )


def slots_and_kept(plan, capacity, priority="position"):
    assignment = assign_slots(plan, EXPERTS, capacity, priority)
    return (
        ops.convert_to_numpy(assignment.slots),
        ops.convert_to_numpy(assignment.kept),
    )


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


def test_equal_scores_keep_the_order_of_positions():
    plan = plan_of(np.full((1, 40, 4), 0.25), top_k=1)
    slots, _ = slots_and_kept(plan, 40, "score")
    np.testing.assert_array_equal(slots[0, :, 0], np.arange(40))


@pytest.mark.parametrize("priority", ["position", "score"])
def test_padding_takes_no_slot(priority):
    mask = np.array([[False, True, False, True]])
    plan = plan_of(np.tile([0.9, 0, 0, 0], (1, 4, 1)), 1, mask)
    slots, kept = slots_and_kept(plan, 2, priority)
    np.testing.assert_array_equal(kept[0, :, 0], mask[0])
    assert slots[0, 1, 0] == 0
    assert slots[0, 3, 0] == 1


def test_groups_do_not_share_slots():
    plan = plan_of(np.tile([0.9, 0, 0, 0], (3, 2, 1)), top_k=1)
    _, kept = slots_and_kept(plan, 1)
    np.testing.assert_array_equal(kept[..., 0], [[True, False]] * 3)


@pytest.mark.sweep
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, LENGTH),
    st.sampled_from(["position", "score"]),
)
def test_kept_pairs_agree_with_the_oracle(seed, capacity, priority):
    rng = np.random.default_rng(seed)
    # Tenths, so that scores often tie.
    probs = rng.integers(0, 5, (GROUPS, LENGTH, EXPERTS)) / np.float32(10)
    mask = rng.random((GROUPS, LENGTH)) > 0.2
    plan = plan_of(probs, TOP_K, mask)
    indices = ops.convert_to_numpy(plan.expert_indices)
    slots, kept = slots_and_kept(plan, capacity, priority)
    expected = testing.drop(indices, probs, mask, capacity, priority)
    np.testing.assert_array_equal(kept, expected)
    for group in range(GROUPS):
        for expert in range(EXPERTS):
            used = slots[group][kept[group] & (indices[group] == expert)]
            # Without gaps from 0, each slot once.
            assert sorted(used) == list(range(len(used)))


def test_keep_all_keeps_every_pair_of_every_real_token():
    mask = np.array([[True, False, True]])
    plan = plan_of(np.zeros((1, 3, 4)), 2, mask)
    assignment = keep_all(plan)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(assignment.kept), np.repeat(mask[..., None], 2, -1)
    )
    assert assignment.slots is None
    assert assignment.capacity is None


def test_an_unknown_priority_is_refused_with_the_known_ones():
    plan = plan_of(np.zeros((1, 3, 4)), 1)
    with pytest.raises(ValueError, match=r"\['position', 'score'\]") as error:
        assign_slots(plan, 4, 1, priority="random")
    assert "priority='random'" in str(error.value)
