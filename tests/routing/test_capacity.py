"""Slots per expert per group."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.routing import expert_capacity
from keras_moe.routing.capacity import fixed_capacity


@pytest.mark.parametrize(
    ("factor", "group_size", "top_k", "num_experts", "expected"),
    [
        (1.0, 16, 2, 8, 4),  # exactly balanced: 32 pairs on 8 experts
        (1.25, 16, 2, 8, 5),
        (1.0, 10, 1, 4, 3),  # 2.5, rounded up
        (1.1, 100, 1, 10, 11),  # 11.000000000000002 in floats
        (0.1, 3, 1, 8, 1),  # never without a slot
        (2.0, 1, 1, 1, 2),
    ],
)
def test_capacity_is_the_equal_share_times_the_factor_rounded_up(
    factor, group_size, top_k, num_experts, expected
):
    assert expert_capacity(factor, group_size, top_k, num_experts) == expected


@given(
    st.sampled_from([0.01, 0.5, 0.7, 1.0, 1.1, 1.25, 4 / 3, 2.0, 7.3]),
    st.integers(1, 5000),
    st.integers(1, 8),
    st.integers(1, 256),
)
def test_capacity_agrees_with_the_oracle(factor, size, top_k, num_experts):
    factor = round(factor, 4)
    expected = testing.capacity(factor, size, top_k, num_experts)
    assert expert_capacity(factor, size, top_k, num_experts) == expected


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="JAX knows every length"
)
@pytest.mark.parametrize("size", [1, 10, 100, 123_456])
@pytest.mark.parametrize("factor", [0.3, 1.1, 1.25])
def test_a_length_unknown_while_tracing_gives_the_same_number(size, factor):
    capacity = expert_capacity(factor, ops.convert_to_tensor(size), 2, 10)
    assert ops.is_tensor(capacity)
    assert int(capacity) == expert_capacity(factor, size, 2, 10)


@pytest.mark.parametrize("factor", [0, 0.0, -1.25])
def test_a_factor_that_is_not_positive_is_refused(factor):
    with pytest.raises(ValueError, match="`None` for dropless") as error:
        expert_capacity(factor, 16, 2, 8)
    assert f"capacity_factor={factor}" in str(error.value)


@pytest.mark.parametrize(
    ("slots", "group_size", "expected"), [(64, 10, 10), (3, 10, 3), (1, 1, 1)]
)
def test_a_fixed_capacity_leaves_out_what_cannot_be_filled(
    slots, group_size, expected
):
    assert fixed_capacity(slots, group_size) == expected
    size = ops.convert_to_tensor(group_size)
    assert int(fixed_capacity(slots, size)) == expected


def test_numpy_scalars_are_numbers():
    slots = expert_capacity(
        np.float32(1.1), np.int32(10), np.int8(1), np.uint8(1)
    )
    assert type(slots) is int
    assert slots == 11
    # 1.25 * 2^30 * 2 / 4, whose steps do not fit int32.
    slots = expert_capacity(
        np.float16(1.25), np.int32(2**30), np.int32(2), np.int32(4)
    )
    assert slots == 5 * 2**27
    assert fixed_capacity(np.int64(64), np.int32(10)) == 10
