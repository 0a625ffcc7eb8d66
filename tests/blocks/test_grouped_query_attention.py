"""Grouped-query attention against plain loops."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import GroupedQueryAttention
from keras_moe.testing import run_layer_test

# The published variations, each of them alone and all together.
VARIATIONS = {
    "none": {},
    "window": {"sliding_window": 2},
    "biases": {"use_query_key_value_bias": True, "use_output_bias": True},
    "norm of heads": {"query_key_norm": "head", "layer_norm_epsilon": 0.1},
    "norm of projections": {
        "query_key_norm": "projection",
        "layer_norm_epsilon": 0.1,
    },
    "clipping": {"clip_query_key_value": 0.5},
    "scale": {"attention_scale": 0.9},
    "soft cap": {"soft_cap": 0.3},
    "rope dim": {"rope_dim": 4},
    "rope": {"rope_max_wavelength": 50.0, "rope_scaling_factor": 2.0},
}
ALL = {
    key: value for each in VARIATIONS.values() for key, value in each.items()
}
VARIATIONS["all"] = ALL


def make_layer(heads=(4, 2), **variation):
    return GroupedQueryAttention(*heads, head_dim=6, **variation)


def inputs_of(length=5):
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, length, 16)).astype("float32")


def weights_of(layer):
    """Return every weight as float64, under a name such as query/kernel."""
    return {
        variable.path.partition("/")[2]: ops.convert_to_numpy(variable).astype(
            float
        )
        for variable in layer.trainable_variables
    }


def attention_by_hand(layer, weights, inputs):
    """Attend head by head and query by query, in float64."""
    query, key, value = (
        project(layer, weights, inputs, name)
        for name in ("query", "key", "value")
    )
    output_kernel = weights["output/kernel"]
    group = query.shape[2] // key.shape[2]
    scale = layer.attention_scale or query.shape[3] ** -0.5
    outputs = np.zeros(inputs.shape) + weights.get("output/bias", 0.0)
    for row, head in np.ndindex(query.shape[0], query.shape[2]):
        shared = head // group
        queries = rotate(layer, query[row, :, head])
        keys = rotate(layer, key[row, :, shared])
        for q in range(len(queries)):
            window = layer.sliding_window or len(queries)
            seen = slice(max(0, q - window + 1), q + 1)
            scores = scale * keys[seen] @ queries[q]
            if layer.soft_cap:
                scores = layer.soft_cap * np.tanh(scores / layer.soft_cap)
            weight = np.exp(scores - scores.max())
            weight /= weight.sum()
            mixed = weight @ value[row, seen, shared]
            outputs[row, q] += mixed @ output_kernel[head]
    return outputs


def project(layer, weights, inputs, name):
    """Return queries, keys or values, (B, L, heads, D), before rotation."""
    heads = np.tensordot(inputs, weights[f"{name}/kernel"], 1)
    heads += weights.get(f"{name}/bias", 0.0)
    if layer.query_key_norm and name != "value":
        axes = {"head": (3,), "projection": (2, 3)}[layer.query_key_norm]
        mean = np.mean(heads**2, axes, keepdims=True)
        heads /= np.sqrt(mean + layer.layer_norm_epsilon)
        scale = weights[f"{name}_norm/scale"]
        heads *= scale.reshape([heads.shape[axis] for axis in axes])
    limit = layer.clip_query_key_value or np.inf
    return np.clip(heads, -limit, limit)


def rotate(layer, vectors):
    """Turn a head's vectors (L, D) by their positions."""
    dim = layer.rope_dim or vectors.shape[1]
    half = dim // 2
    speed = layer.rope_max_wavelength ** (-np.arange(half) / half)
    angle = np.arange(len(vectors))[:, None] * speed / layer.rope_scaling_factor
    turned = vectors[:, :half] + 1j * vectors[:, half:dim]
    turned = turned * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag, vectors[:, dim:]], axis=1)


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize("sliding_window", [None, 1, 3])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_outputs_equal_the_loops(heads, sliding_window):
    layer = make_layer(heads, sliding_window=sliding_window)
    inputs = inputs_of(7)
    outputs = layer(inputs)
    expected = attention_by_hand(layer, weights_of(layer), inputs)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=2e-5
    )


@pytest.mark.sweep(first=3)
@pytest.mark.parametrize("variation", VARIATIONS)
def test_values_and_gradients_of_variations_equal_the_loops(
    variation, fill_weights, differentiate
):
    layer = make_layer(**VARIATIONS[variation])
    inputs = inputs_of()
    layer.build(inputs.shape)
    fill_weights(layer)
    rng = np.random.default_rng(2)
    cotangent = rng.normal(size=inputs.shape)
    outputs, gradients = differentiate(layer, inputs, cotangent)
    weights = weights_of(layer)
    values = {"inputs": inputs.astype(float), **weights}

    def by_hand(values):
        return attention_by_hand(layer, values, values["inputs"])

    np.testing.assert_allclose(outputs, by_hand(values), atol=2e-5)
    plain = attention_by_hand(make_layer(), without_extras(weights), inputs)
    moved = np.abs(outputs - plain).max()
    assert moved > 1e-2 if variation != "none" else moved < 2e-5
    # Each gradient along a random direction, against central differences.
    assert sorted(gradients) == sorted(values)
    for name, value in values.items():
        step = 1e-5 * rng.normal(size=value.shape)
        ahead = by_hand({**values, name: value + step})
        behind = by_hand({**values, name: value - step})
        expected = np.sum((ahead - behind) / 2e-5 * cotangent)
        np.testing.assert_allclose(
            np.sum(gradients[name] * step / 1e-5),
            expected,
            rtol=1e-4,
            atol=1e-4,
            err_msg=name,
        )


def without_extras(weights):
    return {name: weights[name] for name in weights if name.endswith("kernel")}


@pytest.mark.sweep
def test_every_variation_survives_token_by_token(fill_weights):
    layer = make_layer(**ALL)
    inputs = inputs_of(6)
    layer.build(inputs.shape)
    fill_weights(layer)
    expected = attention_by_hand(layer, weights_of(layer), inputs)
    cache = layer.empty_cache(2, 8)
    check_token_by_token(layer, inputs, cache, range(6), expected)


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
@pytest.mark.sweep(first=1)
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


@pytest.mark.sweep
@pytest.mark.parametrize("variation", ["none", "all"])
def test_layer_contract(variation):
    run_layer_test(
        GroupedQueryAttention,
        {
            "num_query_heads": 4,
            "num_key_value_heads": 2,
            **VARIATIONS[variation],
        },
        input_shape=(2, 5, 16),
        expected_output_shape=(2, 5, 16),
    )


def test_key_value_heads_must_divide_query_heads():
    with pytest.raises(ValueError, match="num_key_value_heads=3"):
        GroupedQueryAttention(4, 3)


def test_unknown_norms_are_refused_by_name():
    with pytest.raises(ValueError, match="'head'.*query_key_norm='layer'"):
        GroupedQueryAttention(4, 2, query_key_norm="layer")


def test_width_must_split_into_heads():
    layer = GroupedQueryAttention(4, 2)
    with pytest.raises(ValueError, match="Set `head_dim`"):
        layer(keras.ops.ones((1, 3, 18)))
