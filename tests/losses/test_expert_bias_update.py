"""The step of the router's selection bias."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.losses import expert_bias_update
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens


def update(logits, top_k=1, rate=0.5, mask=None):
    plan = choose_top_k(np.asarray(logits, "float32"), top_k, padding_mask=mask)
    return ops.convert_to_numpy(expert_bias_update(plan, rate))


def test_a_balanced_load_moves_nothing():
    # With 15 and 61 experts, five tokens each, a fifteenth times the sum is
    # no whole number in float32.
    for num_experts in (3, 15, 61):
        logits = np.tile(np.eye(num_experts), (5, 1))
        np.testing.assert_array_equal(update(logits), np.zeros(num_experts))


def test_busy_experts_go_down_and_idle_ones_up_by_the_same_step():
    # Loads 3, 1, 0, 0 of a mean of 1.
    logits = [[9, 0, 0, 0]] * 3 + [[0, 9, 0, 0]]
    np.testing.assert_array_equal(update(logits), [-0.5, 0.0, 0.5, 0.5])


def test_padding_does_not_count():
    logits = np.eye(2)
    mask = np.array([True, False])
    np.testing.assert_array_equal(update(logits, mask=mask), [-0.5, 0.5])
    mask[:] = False
    np.testing.assert_array_equal(update(logits, mask=mask), [0.0, 0.0])


@pytest.mark.sweep
@given(
    seed=st.integers(0, 2**32 - 1),
    num_experts=st.integers(1, 9),
    num_tokens=st.integers(1, 20),
    data=st.data(),
)
def test_any_plan_against_the_oracle(seed, num_experts, num_tokens, data):
    top_k = data.draw(st.integers(1, num_experts))
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((num_tokens, num_experts)).astype("float32")
    mask = rng.random(num_tokens) < 0.7
    plan = choose_top_k(logits, top_k, padding_mask=mask)
    counts = testing.tokens_per_expert(
        ops.convert_to_numpy(plan.expert_indices), num_experts, mask
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(expert_bias_update(plan, 0.001)),
        testing.expert_bias_update(counts, 0.001),
        rtol=1e-6,
    )


def test_a_router_without_scores_has_a_load():
    plan = choose_top_k(np.eye(4, dtype="float32")[[0, 0, 1]], 1)
    plan = count_tokens(plan, 4)._replace(scores=None)
    # Loads 2, 1, 0, 0 of a mean of 3 / 4.
    np.testing.assert_array_equal(
        ops.convert_to_numpy(expert_bias_update(plan, np.float32(0.5))),
        [-0.5, -0.5, 0.5, 0.5],
    )
