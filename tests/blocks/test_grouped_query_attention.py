"""Grouped-query attention against plain loops."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import GroupedQueryAttention
from keras_moe.testing import run_layer_test


def attention_by_hand(layer, inputs, sliding_window=None):
    """Attend head by head and query by query, in float64."""
    kernels = {
        name: ops.convert_to_numpy(getattr(layer, name).kernel).astype(float)
        for name in ("query", "key", "value", "output_dense")
    }
    rotate = _rotation(layer.rope_max_wavelength)
    batch, length, _ = inputs.shape
    num_queries, head_dim = kernels["query"].shape[1:]
    group = num_queries // kernels["key"].shape[1]
    outputs = np.zeros(inputs.shape)
    for row in range(batch):
        for head in range(num_queries):
            shared = head // group
            query = inputs[row] @ kernels["query"][:, head]
            key = inputs[row] @ kernels["key"][:, shared]
            value = inputs[row] @ kernels["value"][:, shared]
            query, key = rotate(query), rotate(key)
            for q in range(length):
                first = max(0, q - sliding_window + 1) if sliding_window else 0
                scores = key[first : q + 1] @ query[q] / np.sqrt(head_dim)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                mixed = weights @ value[first : q + 1]
                outputs[row, q] += mixed @ kernels["output_dense"][head]
    return outputs


def _rotation(max_wavelength):
    def rotate(vectors):
        half = vectors.shape[-1] // 2
        angle = np.arange(len(vectors))[:, None] * max_wavelength ** (
            -np.arange(half) / half
        )
        turned = (vectors[:, :half] + 1j * vectors[:, half:]) * np.exp(
            1j * angle
        )
        return np.concatenate([turned.real, turned.imag], axis=-1)

    return rotate


@pytest.mark.parametrize("sliding_window", [None, 1, 3])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_outputs_equal_the_loops(heads, sliding_window):
    layer = GroupedQueryAttention(
        *heads, head_dim=6, sliding_window=sliding_window
    )
    inputs = np.random.default_rng(0).normal(size=(2, 7, 16))
    outputs = layer(inputs.astype("float32"))
    expected = attention_by_hand(layer, inputs, sliding_window)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=2e-5
    )


def check_token_by_token(layer, inputs, cache, positions, expected):
    for position in positions:
        outputs, cache = layer(
            inputs[:, position : position + 1],
            cache=cache,
            cache_update_index=position,
        )
        np.testing.assert_allclose(
            ops.convert_to_numpy(outputs)[:, 0],
            expected[:, position],
            atol=1e-5,
        )


# Three slots are the window: the fourth token takes the first one's place.
@pytest.mark.parametrize("num_slots", [8, 3])
def test_token_by_token_with_a_cache_equals_all_at_once(num_slots):
    layer = GroupedQueryAttention(4, 2, sliding_window=3)
    inputs = np.random.default_rng(0).normal(size=(2, 6, 16))
    inputs = inputs.astype("float32")
    expected = ops.convert_to_numpy(layer(inputs))
    cache = layer.empty_cache(2, num_slots)
    check_token_by_token(layer, inputs, cache, range(6), expected)


# A buffer of eight for a prompt of one to six tokens, the rest of it unknown.
@pytest.mark.parametrize("length", [1, 2, 4, 6])
def test_a_prompts_cache_rolled_to_the_window_goes_on_alike(length):
    layer = GroupedQueryAttention(4, 2, sliding_window=3)
    inputs = np.random.default_rng(0).normal(size=(2, 8, 16))
    inputs = inputs.astype("float32")
    expected = ops.convert_to_numpy(layer(inputs))
    prompt = inputs.copy()
    prompt[:, length:] = 9.0
    _, cache = layer(
        prompt, cache=layer.empty_cache(2, 8), cache_update_index=0
    )
    cache = layer.roll_cache(cache, length)
    assert [tuple(each.shape) for each in cache] == [(2, 2, 3, 4)] * 2
    # The last one of the prompt a second time.
    positions = range(length - 1, 8)
    check_token_by_token(layer, inputs, cache, positions, expected)


def test_a_cache_shorter_than_the_window_is_kept_whole():
    for window in (None, 8, 9):
        layer = GroupedQueryAttention(4, 2, sliding_window=window)
        layer.build((2, 8, 16))
        cache = layer.empty_cache(2, 8)
        assert layer.roll_cache(cache, 3) is cache


def test_layer_contract():
    run_layer_test(
        GroupedQueryAttention,
        {"num_query_heads": 4, "num_key_value_heads": 2},
        input_shape=(2, 5, 16),
        expected_output_shape=(2, 5, 16),
    )


def test_key_value_heads_must_divide_query_heads():
    with pytest.raises(ValueError, match="num_key_value_heads=3"):
        GroupedQueryAttention(4, 3)


def test_width_must_split_into_heads():
    layer = GroupedQueryAttention(4, 2)
    with pytest.raises(ValueError, match="Set `head_dim`"):
        layer(keras.ops.ones((1, 3, 18)))
