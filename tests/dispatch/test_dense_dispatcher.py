"""Every expert sees every token."""

import numpy as np
from keras import ops

from keras_moe.dispatch import DenseDispatcher


def test_every_expert_gets_every_token(make_case):
    case = make_case()
    dispatcher = DenseDispatcher(case.plan, case.assignment, num_experts=4)
    rows, group_sizes = dispatcher.dispatch(ops.convert_to_tensor(case.tokens))
    assert group_sizes is None
    np.testing.assert_array_equal(
        ops.convert_to_numpy(rows),
        np.tile(case.tokens.reshape(-1, 3), (4, 1, 1)),
    )
