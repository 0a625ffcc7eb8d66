"""The dense counterpart of an expert."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.layers import FeedForward
from keras_moe.ops import swiglu
from keras_moe.testing import run_layer_test


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.mark.sweep
def test_the_layer_contract():
    run_layer_test(
        FeedForward,
        {
            "intermediate_dim": 4,
            "activation": "gelu",
            "gated": False,
            "kernel_initializer": "he_normal",
        },
        input_shape=(2, 7, 6),
        expected_output_shape=(2, 7, 6),
        expected_num_trainable_weights=2,
    )


@pytest.mark.sweep
def test_the_layer_contract_with_a_gate_of_two_branches():
    run_layer_test(
        FeedForward,
        {"intermediate_dim": 4, "activation": swiglu},
        input_shape=(2, 7, 6),
        expected_output_shape=(2, 7, 6),
        expected_num_trainable_weights=3,
    )
    layer = FeedForward(4, swiglu)
    layer.build((None, 6))
    assert tuple(layer.gate.kernel.shape) == (6, 8)
    assert tuple(layer.up.kernel.shape) == (6, 4)


@pytest.mark.parametrize(
    ("gated", "activation"), [(True, "silu"), (True, "gelu"), (False, "relu")]
)
def test_outputs_agree_with_the_oracle_of_one_expert(gated, activation):
    layer = FeedForward(4, activation, gated)
    inputs = draw(2, 7, 6)
    outputs = ops.convert_to_numpy(layer(inputs))
    gate, up, down = (
        None
        if dense is None
        else ops.convert_to_numpy(dense.kernel.value).astype("float64")
        for dense in (layer.gate if gated else None, layer.up, layer.down)
    )
    for position in np.ndindex(2, 7):
        expected = testing.expert(
            inputs[position].astype("float64"), gate, up, down, activation
        )
        np.testing.assert_allclose(
            outputs[position], expected, rtol=1e-4, atol=1e-6
        )


def test_biases_are_added_in_every_branch():
    layer = FeedForward(4, "relu", use_bias=True)
    inputs = draw(2, 7, 6)
    layer.build(inputs.shape)
    for seed, weight in enumerate(layer.weights):
        weight.assign(draw(*weight.shape, seed=seed))
    gate, up, down = (
        [np.float64(ops.convert_to_numpy(each)) for each in dense.weights]
        for dense in (layer.gate, layer.up, layer.down)
    )
    hidden = np.maximum(inputs @ gate[0] + gate[1], 0)
    expected = hidden * (inputs @ up[0] + up[1]) @ down[0] + down[1]
    outputs = ops.convert_to_numpy(layer(inputs))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    copy = FeedForward.from_config(layer.get_config())
    copy.build(inputs.shape)
    assert len(copy.weights) == 6


def test_kernels_of_one_shape_start_different_with_an_int_seed_too():
    layer = FeedForward(
        5, kernel_initializer=keras.initializers.HeNormal(seed=1)
    )
    layer.build((None, 5))
    kernels = [
        ops.convert_to_numpy(dense.kernel.value)
        for dense in (layer.gate, layer.up, layer.down)
    ]
    for index, kernel in enumerate(kernels):
        for other in kernels[:index]:
            assert np.max(np.abs(kernel - other)) > 1e-3


def test_a_mask_may_come_to_a_rematerialized_layer(backend):
    def loss(mode):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=mode):
            layer = FeedForward(4)
        embedding = keras.layers.Embedding(8, 6, mask_zero=True)
        model = keras.Sequential([embedding, layer])
        model.compile("sgd", "mse", jit_compile=backend == "jax")
        token_ids = np.array([[3, 5, 0], [1, 0, 0]])
        targets = np.ones((2, 3, 6), "float32")
        return model.fit(token_ids, targets, epochs=2, verbose=0).history[
            "loss"
        ]

    np.testing.assert_allclose(loss("full"), loss(None), rtol=1e-5)


def test_a_width_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="`intermediate_dim` to be a positive"):
        FeedForward(0)
