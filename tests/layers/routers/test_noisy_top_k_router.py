"""Shazeer's learned noise."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import LoadLoss
from keras_moe.layers import NoisyTopKRouter
from keras_moe.routing import LogitNoise

HIDDEN, EXPERTS = 5, 4


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def test_noise_is_as_large_as_the_second_projection_says(draw, fill_weights):
    router = NoisyTopKRouter(EXPERTS, balancing=None, seed=1)
    inputs = np.tile(draw(3, HIDDEN), (4000, 1))
    router.build(inputs.shape)
    fill_weights(router)
    plan = router(inputs, training=True)
    scores = plan.scores
    clean = inputs @ numpy(router.kernel.value)
    np.testing.assert_allclose(numpy(scores.logits), clean, atol=1e-5)
    stddev = np.logaddexp(0, inputs @ numpy(router.noise_kernel.value)) + 0.01
    np.testing.assert_allclose(numpy(scores.noise_stddev), stddev, rtol=1e-5)
    noise = (numpy(scores.noisy_logits) - clean) / stddev
    # The error of 48,000 numbers' mean is 0.005, of their deviation 0.003.
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1.0, abs=0.015)
    chosen = np.argsort(-numpy(scores.noisy_logits), axis=-1)[:, :2]
    np.testing.assert_array_equal(numpy(plan.expert_indices), chosen)
    noisy = np.take_along_axis(numpy(scores.noisy_logits), chosen, -1)
    expected = np.exp(noisy) / np.exp(noisy).sum(-1, keepdims=True)
    np.testing.assert_allclose(numpy(plan.combine_weights), expected, rtol=1e-4)


def test_the_gradient_reaches_the_size_of_the_noise(draw, vjp):
    router = NoisyTopKRouter(EXPERTS, balancing=None)
    inputs = draw(6, HIDDEN)
    router.build(inputs.shape)
    kernel, noise_kernel = draw(HIDDEN, EXPERTS), draw(HIDDEN, EXPERTS, seed=1)
    cotangent = draw(6, EXPERTS, seed=2)

    def noisy_logits(*values):
        pairs = zip(router.trainable_variables, values, strict=True)
        with keras.StatelessScope(pairs):
            scores = router(inputs, training=True).scores
        return ops.concatenate([scores.noisy_logits, scores.logits], axis=0)

    value, gradients = vjp(
        noisy_logits,
        [kernel, noise_kernel],
        np.concatenate([cotangent, 0 * cotangent]),
    )
    raw = inputs @ noise_kernel
    noise = (value[:6] - value[6:]) / (np.logaddexp(0, raw) + 0.01)
    # softplus' = sigmoid
    on_raw = cotangent * noise / (1 + np.exp(-raw))
    for gradient, expected in zip(
        gradients, (inputs.T @ cotangent, inputs.T @ on_raw), strict=True
    ):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_a_load_loss_trains_the_router_and_its_noise(draw, vjp):
    router = NoisyTopKRouter(EXPERTS, balancing=None, seed=1)
    inputs = draw(6, HIDDEN)
    router.build(inputs.shape)

    def loss(*values):
        pairs = zip(router.trainable_variables, values, strict=True)
        with keras.StatelessScope(pairs):
            return LoadLoss(1.0)(router(inputs, training=True))

    value, gradients = vjp(
        loss, [draw(HIDDEN, EXPERTS), draw(HIDDEN, EXPERTS, seed=1)], 1.0
    )
    assert value > 0
    for gradient in gradients:
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient)


def test_all_experts_start_equal():
    router = NoisyTopKRouter(EXPERTS)
    plan = router(np.ones((1, 3, HIDDEN), "float32"))
    assert not numpy(plan.scores.logits).any()


@pytest.mark.once
def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="this router learns its noise"):
        NoisyTopKRouter(EXPERTS, logit_noise=LogitNoise())
    with pytest.raises(ValueError, match="`min_stddev` to be 0 or more"):
        NoisyTopKRouter(EXPERTS, min_stddev=-1.0)
