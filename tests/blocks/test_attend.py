"""Attention against loops over heads and queries."""

import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import attend


def attend_by_hand(query, key, value, visible, scale, soft_cap):
    batch_size, length, num_heads, _ = query.shape
    shared = key.shape[1]
    outputs = np.zeros((*query.shape[:3], value.shape[-1]))
    for row in range(batch_size):
        for head in range(num_heads):
            keys = key[row, head * shared // num_heads]
            values = value[row, head * shared // num_heads]
            for q in range(length):
                scores = scale * keys @ query[row, q, head]
                if soft_cap:
                    scores = soft_cap * np.tanh(scores / soft_cap)
                seen = visible[row % len(visible), q]
                weights = np.where(seen, np.exp(scores), 0.0)
                weights /= weights.sum()
                outputs[row, q, head] = weights @ values
    return outputs


@pytest.mark.sweep(first=4)
@pytest.mark.parametrize("soft_cap", [None, 0.5])
@pytest.mark.parametrize("value_width", [6, 5])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("length", [1, 3])
def test_values_are_mixed_as_the_loops_do(length, heads, value_width, soft_cap):
    num_queries, shared = heads
    rng = np.random.default_rng(0)
    query = rng.normal(size=(2, length, num_queries, 6))
    key = rng.normal(size=(2, shared, 7, 6))
    value = rng.normal(size=(2, shared, 7, value_width))
    visible = rng.random((2, length, 7)) < 0.5
    visible[..., 0] = True
    arrays = [each.astype("float32") for each in (query, key, value)]
    outputs = attend(
        *map(ops.convert_to_tensor, arrays),
        ops.convert_to_tensor(visible),
        scale=0.7,
        soft_cap=soft_cap,
    )
    expected = attend_by_hand(query, key, value, visible, 0.7, soft_cap)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=1e-5
    )


@pytest.mark.parametrize("length", [1, 3])
def test_the_scale_defaults_to_the_width(length):
    rng = np.random.default_rng(0)
    shapes = (1, length, 2, 4), (1, 2, 5, 4), (1, 2, 5, 4)
    arrays = [
        ops.convert_to_tensor(rng.normal(size=shape).astype("float32"))
        for shape in shapes
    ]
    visible = ops.ones((1, length, 5), dtype="bool")
    default = ops.convert_to_numpy(attend(*arrays, visible))
    explicit = ops.convert_to_numpy(attend(*arrays, visible, scale=0.5))
    np.testing.assert_allclose(default, explicit, atol=1e-6)
