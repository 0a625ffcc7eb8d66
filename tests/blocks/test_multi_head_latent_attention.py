"""Multi-head latent attention against plain loops."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import MultiHeadLatentAttention
from keras_moe.blocks.yarn import yarn_frequencies
from keras_moe.blocks.yarn import yarn_magnitude
from keras_moe.blocks.yarn import yarn_softmax_scale
from keras_moe.testing import run_layer_test

HEADS = 2
SIZES = {
    "num_query_heads": HEADS,
    "key_value_latent_dim": 4,
    "nope_head_dim": 3,
    "rope_head_dim": 4,
    "value_head_dim": 5,
}
YARN = {
    "scaling_factor": 4.0,
    "original_max_length": 16,
    "beta_fast": 2.0,
    "mscale": 2.0,
    "mscale_all_dim": 1.0,
}
CASES = {
    "plain": {},
    "query latents": {"query_latent_dim": 6},
    "halves, biases": {
        "query_latent_dim": 6,
        "rope_interleaved": False,
        "use_bias": True,
    },
    "yarn": {"yarn": YARN, "rope_max_wavelength": 50.0},
}


def weights_of(layer):
    """Return the weights under short names, in float64."""
    return {
        variable.path.partition("/")[2]: ops.convert_to_numpy(variable).astype(
            float
        )
        for variable in layer.trainable_variables
    }


def attention_by_hand(layer, weights, inputs, mask=None):
    """Attend head by head and query by query, with every key expanded."""
    angles = yarn_frequencies(
        layer.rope_head_dim, layer.rope_max_wavelength, layer.yarn
    )
    magnitude = yarn_magnitude(layer.yarn)
    scale = yarn_softmax_scale(layer.yarn)
    scale /= np.sqrt(layer.nope_head_dim + layer.rope_head_dim)

    def down(name, vector):
        bias = weights.get(f"{name}/bias", 0.0)
        return vector @ weights[f"{name}/kernel"] + bias

    def norm(name, vector):
        size = np.sqrt(np.mean(vector**2) + 1e-6)
        return vector / size * weights[f"{name}/scale"]

    def turn(vector, position):
        half = len(vector) // 2
        if layer.rope_interleaved:
            pairs = vector[0::2] + 1j * vector[1::2]
        else:
            pairs = vector[:half] + 1j * vector[half:]
        pairs = magnitude * pairs * np.exp(1j * position * angles)
        return np.concatenate([pairs.real, pairs.imag])

    rank, nope = layer.key_value_latent_dim, layer.nope_head_dim
    outputs = np.zeros(inputs.shape)
    for row, tokens in enumerate(inputs):
        keys, values, queries = [], [], []
        for position, token in enumerate(tokens):
            both = down("key_value_down", token)
            latent = norm("key_value_norm", both[:rank])
            shared = turn(both[rank:], position)
            up = np.tensordot(latent, weights["key_value_up/kernel"], 1)
            keys.append([np.append(head[:nope], shared) for head in up])
            values.append([head[nope:] for head in up])
            if layer.query_latent_dim is None:
                query = np.tensordot(token, weights["query/kernel"], 1)
            else:
                query = norm("query_norm", down("query_down", token))
                query = np.tensordot(query, weights["query_up/kernel"], 1)
            queries.append(
                [
                    np.append(head[:nope], turn(head[nope:], position))
                    for head in query
                ]
            )
        for q in range(len(tokens)):
            outputs[row, q] += weights.get("output/bias", 0.0)
            seen = [k for k in range(q + 1) if mask is None or mask[row, k]]
            for head in range(HEADS):
                scores = np.array(
                    [keys[k][head] @ queries[q][head] * scale for k in seen]
                )
                shares = np.exp(scores - scores.max())
                shares /= shares.sum()
                mixed = sum(
                    share * values[k][head]
                    for share, k in zip(shares, seen, strict=True)
                )
                outputs[row, q] += mixed @ weights["output/kernel"][head]
    return outputs


def make(length=4, **changes):
    """Return a layer whose every weight is random, and inputs."""
    rng = np.random.default_rng(0)
    layer = MultiHeadLatentAttention(**{**SIZES, **changes})
    layer.build((2, length, 6))
    for variable in layer.trainable_variables:
        noise = 0.7 * rng.normal(size=variable.shape)
        variable.assign(noise + ("norm" in variable.path))
    return layer, rng.normal(size=(2, length, 6)).astype("float32")


def token_by_token(call, inputs, cache):
    """Return `call`'s outputs for one token after the other."""
    outputs = []
    for position in range(inputs.shape[1]):
        output, cache = call(
            inputs[:, position : position + 1],
            cache=cache,
            cache_update_index=position,
        )
        outputs.append(output)
    return ops.concatenate(outputs, axis=1)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_the_loops(case):
    layer, inputs = make(**CASES[case])
    expected = attention_by_hand(layer, weights_of(layer), inputs)
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(inputs)), expected, atol=2e-5
    )


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("case", CASES)
def test_one_query_on_the_latents_equals_the_loops(case):
    layer, inputs = make(**CASES[case])
    # Two slots more than tokens: what is not written yet is not seen.
    cache = layer.empty_cache(2, 6) + 9.0
    expected = attention_by_hand(layer, weights_of(layer), inputs)
    outputs = token_by_token(layer, inputs, cache)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=2e-5
    )


@pytest.mark.sweep
@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("case", ["halves, biases", "yarn"])
def test_gradients_of_both_forms_equal_the_loops(case, decode, vjp, backend):
    if decode and backend == "tensorflow":
        pytest.skip("Keras' slice_update has no gradient on TensorFlow")
    layer, inputs = make(length=3, **CASES[case])
    cotangent = np.random.default_rng(1).normal(size=inputs.shape)
    variables = layer.trainable_variables

    def forward(inputs, *weights):
        def call(inputs, **arguments):
            return layer.stateless_call(weights, [], inputs, **arguments)[0]

        if decode:
            return token_by_token(call, inputs, layer.empty_cache(2, 3))
        return call(inputs)

    arrays = [ops.convert_to_numpy(variable) for variable in variables]
    value, gradients = vjp(forward, (inputs, *arrays), cotangent)

    weights = {"inputs": inputs.astype(float), **weights_of(layer)}

    def objective():
        outputs = attention_by_hand(layer, weights, weights["inputs"])
        return np.sum(outputs * cotangent)

    names = ["inputs", *(v.path.partition("/")[2] for v in variables)]
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(
            gradient,
            difference_quotients(objective, weights[name]),
            atol=5e-4,
            err_msg=name,
        )


def difference_quotients(objective, array, step=1e-5):
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = objective()
        array[index] = kept - step
        gradient[index] = (above - objective()) / (2 * step)
        array[index] = kept
    return gradient


def test_padding_is_not_looked_at():
    layer, inputs = make(length=5)
    mask = np.array([[1, 1, 1, 0, 1], [1, 0, 0, 1, 1]], bool)
    outputs = layer(inputs, padding_mask=mask)
    expected = attention_by_hand(layer, weights_of(layer), inputs, mask)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=2e-5
    )


@pytest.mark.sweep
def test_a_prompt_fills_the_cache_as_single_tokens_do():
    layer, inputs = make(length=6, query_latent_dim=6, yarn=YARN)
    expected = ops.convert_to_numpy(layer(inputs))
    cache = layer.empty_cache(2, 8)
    prompt, cache = layer(inputs[:, :4], cache=cache, cache_update_index=0)
    rest, cache = layer(inputs[:, 4:], cache=cache, cache_update_index=4)
    outputs = ops.convert_to_numpy(ops.concatenate([prompt, rest], axis=1))
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    _, single = layer(inputs[:, 5:], cache=cache, cache_update_index=5)
    np.testing.assert_allclose(
        ops.convert_to_numpy(single), ops.convert_to_numpy(cache), atol=1e-6
    )


@pytest.mark.sweep
def test_decoding_never_expands_the_cache(monkeypatch):
    layer, inputs = make(length=2)
    projected = []
    dense = type(layer.key_value_up)
    call = dense.call

    def recorded(self, inputs, **arguments):
        projected.append(self.name)
        return call(self, inputs, **arguments)

    monkeypatch.setattr(dense, "call", recorded)
    cache = layer.empty_cache(2, 7)
    _, cache = layer(inputs, cache=cache, cache_update_index=0)
    assert projected.count("key_value_up") == 1
    layer(inputs[:, :1], cache=cache, cache_update_index=2)
    assert projected.count("key_value_up") == 1
    assert projected.count("key_value_down") == 2


def test_the_cache_holds_latents_and_one_rotated_key():
    layer, _ = make()
    cache = layer.empty_cache(3, 7)
    assert tuple(cache.shape) == (3, 7, 4 + 4)
    assert layer.cached_numbers_per_token() == 8
    assert layer.roll_cache(cache, 2) is cache


@pytest.mark.sweep
def test_half_precision_caches_in_half_precision():
    layer = MultiHeadLatentAttention(**SIZES, dtype="mixed_bfloat16")
    inputs = ops.cast(np.ones((1, 1, 6)), "bfloat16")
    layer.build(inputs.shape)
    outputs, cache = layer(
        inputs, cache=layer.empty_cache(1, 3), cache_update_index=0
    )
    for tensor in (outputs, cache):
        assert keras.backend.standardize_dtype(tensor.dtype) == "bfloat16"


@pytest.mark.sweep
def test_layer_contract():
    run_layer_test(
        MultiHeadLatentAttention,
        {**SIZES, "query_latent_dim": 6, "yarn": YARN, "use_bias": True},
        input_shape=(2, 5, 6),
        expected_output_shape=(2, 5, 6),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_head_dim": 3}, "even `rope_head_dim`"),
        ({"key_value_latent_dim": 0}, "key_value_latent_dim=0"),
        ({"query_latent_dim": 0}, "query_latent_dim=0"),
        ({"yarn": {"factor": 2}}, "`yarn` to have fields"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MultiHeadLatentAttention(**{**SIZES, **change})
