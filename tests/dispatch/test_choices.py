"""Plans with input weights, and with experts that compute nothing."""

import numpy as np
import pytest
from keras import ops

from keras_moe.dispatch import carry

STRATEGIES = [("sorted", None), ("sorted", 2), ("slots", 2), ("dense", None)]
by_strategy = pytest.mark.parametrize(("strategy", "capacity"), STRATEGIES)


def square(rows, experts):
    """Let expert e return its rows' squares, e + 1 times."""
    scale = ops.cast(experts + 1, "float32")
    return ops.where(experts >= 0, scale * ops.square(rows), 0.0)


@by_strategy
def test_input_weights_multiply_what_the_experts_see(
    strategy, capacity, make_case, make_experts
):
    case = make_case(capacity)
    plan = case.plan._replace(
        combine_weights=ops.cast(case.kept, "float32"),
        input_weights=case.weights,
    )
    tokens = ops.convert_to_tensor(case.tokens)
    outputs = carry(tokens, plan, make_experts(square), strategy)
    seen = case.weights[..., None] * case.tokens[:, :, None]
    factor = (case.indices + 1) * case.kept
    expected = np.sum(factor[..., None] * seen**2, axis=2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, rtol=1e-5, atol=1e-6
    )


@by_strategy
def test_pairs_of_experts_that_compute_nothing_reach_no_bank(
    strategy, capacity, make_case, make_experts
):
    case = make_case(capacity)
    experts = make_experts(square)
    experts.num_experts = 3
    free = np.random.default_rng(1).standard_normal(case.tokens.shape)
    plan = case.plan._replace(free_outputs=ops.cast(free, "float32"))
    outputs = carry(ops.convert_to_tensor(case.tokens), plan, experts, strategy)
    kept = case.kept & (case.indices < 3)
    assert np.sum(kept) < np.sum(case.kept)
    factor = case.weights * (case.indices + 1) * kept
    expected = free + case.tokens**2 * factor.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, rtol=1e-5, atol=1e-6
    )
