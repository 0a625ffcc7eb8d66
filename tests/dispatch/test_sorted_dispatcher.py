"""Rows sorted by expert."""

import numpy as np
from keras import ops

from keras_moe.dispatch import SortedDispatcher


def test_rows_lie_by_expert_then_token_with_the_unkept_behind(make_case):
    case = make_case(capacity=2)
    dispatcher = SortedDispatcher(case.plan, case.assignment, num_experts=4)
    rows, group_sizes = dispatcher.dispatch(ops.convert_to_tensor(case.tokens))
    indices = ops.convert_to_numpy(case.plan.expert_indices)
    tokens = case.tokens.reshape(-1, 3)
    expected, sizes = [], []
    for expert in range(4):
        chosen = ((indices == expert) & case.kept).any(axis=-1).reshape(-1)
        expected += list(tokens[chosen])
        sizes.append(chosen.sum())
    assert sizes[2] == 0
    np.testing.assert_array_equal(ops.convert_to_numpy(group_sizes), sizes)
    rows = ops.convert_to_numpy(rows)
    assert rows.shape == (tokens.shape[0] * 2, 3)
    np.testing.assert_array_equal(rows[: len(expected)], expected)
