"""Every expert sees every token."""

import numpy as np
from keras import ops

from keras_moe.dispatch import carry


def test_every_expert_gets_every_token(make_case, make_experts):
    case = make_case()
    experts = make_experts(lambda rows, experts: rows)
    carry(ops.convert_to_tensor(case.tokens), case.plan, experts, "dense")
    assert experts.group_sizes is None
    np.testing.assert_array_equal(
        ops.convert_to_numpy(experts.rows),
        np.tile(case.tokens.reshape(-1, 3), (4, 1, 1)),
    )
