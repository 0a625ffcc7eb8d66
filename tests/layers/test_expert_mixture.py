"""The mixture of 1991: every expert's output and weight."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import ExpertMixture
from keras_moe.layers import MixtureRouter
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.losses import MixtureNegativeLogLikelihood
from keras_moe.losses import blend
from keras_moe.testing import run_layer_test


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


@pytest.mark.sweep
def test_the_layer_contract():
    run_layer_test(
        ExpertMixture,
        {"num_experts": 3, "units": 2, "activation": "sigmoid"},
        input_shape=(2, 4, 5),
        expected_output_shape=(2, 4, 3, 3),
        expected_num_trainable_weights=3,
        expected_output_dtype="float32",
    )


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)])
def test_outputs_and_weights_are_dense_layers(shape):
    layer = ExpertMixture(3, 2, "tanh")
    inputs = draw(*shape)
    mixture = numpy(layer(inputs))
    kernel, bias = numpy(layer.experts.kernel), draw(3, 2)
    layer.experts.bias.assign(bias)
    mixture = numpy(layer(inputs))
    expected = np.einsum("...h,ehd->...ed", inputs, kernel) + bias
    np.testing.assert_allclose(
        mixture[..., :-1], np.tanh(expected), rtol=1e-5, atol=1e-6
    )
    logits = inputs @ numpy(layer.router.kernel)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        np.exp(mixture[..., -1]), shares, rtol=1e-5, atol=1e-6
    )


def test_experts_specialize_by_the_likelihood():
    # Two lines, y = x and y = -x, of which the second input tells.
    x = draw(256, 2)
    x[:, 1] = np.sign(x[:, 1])
    y = 5 * x[:, :1] * x[:, 1:]
    inputs = keras.Input((2,))
    model = keras.Model(inputs, ExpertMixture(2, 1)(inputs))
    model.compile(
        keras.optimizers.Adam(0.1),
        MixtureNegativeLogLikelihood(),
        # XLA would take seconds for it.
        jit_compile=keras.config.backend() == "jax",
    )
    for seed, weight in enumerate(model.trainable_weights):
        weight.assign(0.1 * draw(*weight.shape, seed=seed))
    model.fit(x, y, batch_size=64, epochs=30, shuffle=False, verbose=0)
    mixture = model.predict(x, verbose=0)
    # Each expert has one of the two sides.
    side = np.argmax(mixture[..., -1], axis=1) == (x[:, 1] > 0)
    assert max(np.mean(side), 1 - np.mean(side)) > 0.95
    # One line would be off by 5 |x|, 4 on average.
    error = np.abs(numpy(blend(mixture)) - y)
    assert error.mean() < 0.5


@pytest.mark.sweep
def test_a_sparse_layer_with_all_experts_is_their_blend():
    layer = SparseMoE(3, 2, router=MixtureRouter(3, name="router"))
    inputs = draw(2, 4, 5)
    outputs = numpy(layer(inputs))
    each = numpy(layer.experts(np.tile(inputs.reshape(1, -1, 5), (3, 1, 1))))
    logits = inputs.reshape(-1, 5) @ numpy(layer.router.kernel)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        outputs.reshape(-1, 5),
        np.einsum("te,eth->th", shares, each),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.once
def test_a_router_of_another_number_of_experts_is_refused():
    with pytest.raises(ValueError, match="Make them equal"):
        ExpertMixture(3, 2, router=TopKRouter(4))


@pytest.mark.once
def test_a_rule_that_evens_the_load_of_all_experts_is_refused():
    with pytest.raises(ValueError, match="equally busy anyway"):
        MixtureRouter(3, balancing="load_balancing_loss")
