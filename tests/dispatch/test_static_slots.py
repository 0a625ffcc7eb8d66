"""Static slots: every expert has a buffer of the same height."""

import numpy as np
import pytest
from keras import ops

from keras_moe.dispatch import carry
from keras_moe.routing import assign_slots


def test_each_slot_holds_its_token_and_empty_slots_hold_zeros(
    make_case, make_experts
):
    case = make_case(capacity=2)
    experts = make_experts(lambda rows, experts: rows)
    carry(ops.convert_to_tensor(case.tokens), case.plan, experts, "slots")
    assert experts.group_sizes is None
    # (E, G * C, H), group by group.
    expected = np.zeros((4, 2, 2, 3), "float32")
    slots = ops.convert_to_numpy(case.plan.slots)
    for group, token, choice in zip(*np.nonzero(case.kept), strict=True):
        expert = case.indices[group, token, choice]
        slot = slots[group, token, choice]
        expected[expert, group, slot] = case.tokens[group, token]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(experts.rows), expected.reshape(4, 4, 3)
    )


def test_more_slots_than_tokens_are_no_trouble(make_case, make_experts):
    case = make_case()
    plan = assign_slots(case.plan, 4, capacity=50)
    experts = make_experts(lambda rows, experts: rows)
    outputs = carry(ops.convert_to_tensor(case.tokens), plan, experts, "slots")
    assert tuple(experts.rows.shape) == (4, 100, 3)
    # Experts that copy; a real token's weights sum to 1, padding's to 0.
    real = case.kept.all(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), case.tokens * real, rtol=1e-5
    )


def test_a_dropless_plan_is_refused_with_the_cure(make_case, make_experts):
    case = make_case()
    experts = make_experts(lambda rows, experts: rows)
    with pytest.raises(ValueError, match="`capacity=Capacity") as error:
        carry(ops.convert_to_tensor(case.tokens), case.plan, experts, "slots")
    assert "Received: a dropless one" in str(error.value)
    assert "`strategy='sorted'`" in str(error.value)
