"""Static slots: every expert has a buffer of the same height."""

import numpy as np
import pytest
from keras import ops

from keras_moe.dispatch import CapacityDispatcher


def test_each_slot_holds_its_token_and_empty_slots_hold_zeros(make_case):
    case = make_case(capacity=2)
    dispatcher = CapacityDispatcher(case.plan, case.assignment, num_experts=4)
    rows, group_sizes = dispatcher.dispatch(ops.convert_to_tensor(case.tokens))
    assert group_sizes is None
    # (E, G * C, H), group by group.
    expected = np.zeros((4, 2, 2, 3), "float32")
    indices = ops.convert_to_numpy(case.plan.expert_indices)
    slots = ops.convert_to_numpy(case.assignment.slots)
    for group, token, choice in zip(*np.nonzero(case.kept), strict=True):
        expert = indices[group, token, choice]
        slot = slots[group, token, choice]
        expected[expert, group, slot] = case.tokens[group, token]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(rows), expected.reshape(4, 4, 3)
    )


def test_more_slots_than_tokens_are_no_trouble(make_case):
    from keras_moe.routing import assign_slots

    case = make_case()
    assignment = assign_slots(case.plan, 4, capacity=50)
    dispatcher = CapacityDispatcher(case.plan, assignment, num_experts=4)
    rows, _ = dispatcher.dispatch(ops.convert_to_tensor(case.tokens))
    assert tuple(rows.shape) == (4, 100, 3)
    # Experts that copy; a real token's weights sum to 1, padding's to 0.
    real = case.kept.all(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(dispatcher.combine(rows)),
        case.tokens * real,
        rtol=1e-5,
    )


def test_a_dropless_assignment_is_refused_with_the_cure(make_case):
    case = make_case()
    with pytest.raises(ValueError, match="Set `capacity_factor`") as error:
        CapacityDispatcher(case.plan, case.assignment, num_experts=4)
    assert "Received: a dropless one" in str(error.value)
    assert "`dispatcher='sorted'`" in str(error.value)
