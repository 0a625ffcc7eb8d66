"""Rows sorted by expert."""

import numpy as np
import pytest
from keras import ops

from keras_moe.dispatch import carry
from keras_moe.routing import keep_pairs


@pytest.mark.parametrize("capacity", [None, 2])
def test_rows_lie_by_expert_then_token_with_the_unkept_behind(
    capacity, make_case, make_experts
):
    case = make_case(capacity)
    experts = make_experts(lambda rows, experts: rows)
    carry(ops.convert_to_tensor(case.tokens), case.plan, experts, "sorted")
    tokens = case.tokens.reshape(-1, 3)
    expected, sizes = [], []
    for expert in range(4):
        chosen = ((case.indices == expert) & case.kept).any(axis=-1)
        expected += list(tokens[chosen.reshape(-1)])
        sizes.append(chosen.sum())
    assert sizes[2] == 0
    np.testing.assert_array_equal(
        ops.convert_to_numpy(experts.group_sizes), sizes
    )
    rows = ops.convert_to_numpy(experts.rows)
    assert rows.shape == (tokens.shape[0] * 2, 3)
    np.testing.assert_array_equal(rows[: len(expected)], expected)


def test_counts_of_a_plan_that_was_changed_are_not_believed(
    make_case, make_experts
):
    case = make_case()
    kept = case.kept & (np.arange(2) == 0)
    plan = keep_pairs(case.plan, kept, num_experts=4)
    experts = make_experts(lambda rows, experts: rows)
    carry(ops.convert_to_tensor(case.tokens), plan, experts, "sorted")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(experts.group_sizes),
        np.bincount(case.indices[kept], minlength=4),
    )
