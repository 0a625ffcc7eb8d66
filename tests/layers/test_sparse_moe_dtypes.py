"""Half precision: what stays float32, and what may not overflow."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity

POLICIES = {"mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def dtype_of(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


class Recording(TopKRouter):
    """Keeps its last plan, to look at it from outside."""

    def call(self, inputs, padding_mask=None, training=None, mask=None):
        self.plan = super().call(inputs, padding_mask, training, mask)
        return self.plan


def make_layer(policy, capacity, **arguments):
    router = Recording(5, 2, capacity=capacity, name="router")
    return SparseMoE(5, 4, router=router, dtype=policy, **arguments)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("policy", "strategy"),
    [
        ("mixed_bfloat16", "sorted"),
        ("mixed_float16", "slots"),
        ("bfloat16", "dense"),
    ],
)
def test_routing_is_float32_and_outputs_have_the_compute_dtype(
    policy, strategy
):
    layer = make_layer(policy, Capacity(1.0), strategy=strategy)
    outputs = layer(draw(2, 7, 6), training=True)
    assert dtype_of(outputs) == POLICIES.get(policy, policy)
    plan = layer.router.plan
    for tensor in (
        plan.scores.logits,
        plan.scores.probs,
        plan.combine_weights,
        layer.router.kernel,
        *layer.losses,
    ):
        assert dtype_of(tensor) == "float32"
    assert dtype_of(layer.experts.down.kernel) == (
        "bfloat16" if policy == "bfloat16" else "float32"
    )


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("policy", "strategy", "gated"),
    [
        ("mixed_bfloat16", "sorted", True),
        ("mixed_float16", "slots", True),
        ("mixed_bfloat16", "dense", False),
    ],
)
def test_half_precision_is_near_float32_with_all_gradients(
    policy, strategy, gated, make_step, form, fill_weights
):
    inputs, cotangent = draw(2, 7, 6), draw(2, 7, 6, seed=1)
    mask = np.ones((2, 7), bool)
    # Numbers that both half precisions hold, or routing could differ.
    inputs, cotangent = np.round(4 * inputs) / 4, np.round(4 * cotangent) / 4

    def run(dtype):
        layer = SparseMoE(
            5,
            4,
            strategy=strategy,
            gated=gated,
            capacity=Capacity(1.0),
            dtype=dtype,
        )
        layer.build(inputs.shape)
        fill_weights(layer)
        return make_step(layer, form)(inputs, mask, cotangent)

    half, full = run(policy), run("float32")
    # A few roundings to 8 (bfloat16) or 11 bits.
    tolerance = {"mixed_bfloat16": 2**-5, "mixed_float16": 2**-8}[policy]
    np.testing.assert_allclose(half.losses, full.losses, rtol=1e-5)
    pairs = {
        name: (half.gradients[name], full.gradients[name])
        for name in full.gradients
    }
    pairs["outputs"] = half.outputs, full.outputs
    for name, (actual, expected) in pairs.items():
        error = np.max(np.abs(actual - expected))
        assert error <= tolerance * np.max(np.abs(expected)), name


@pytest.mark.parametrize("policy", POLICIES)
def test_logits_of_ten_thousand_do_not_overflow(
    policy, make_step, form, fill_weights
):
    layer = SparseMoE(5, 4, dtype=policy)
    inputs = draw(2, 7, 6)
    layer.build(inputs.shape)
    fill_weights(layer)
    kernel = ops.convert_to_numpy(layer.router.kernel.value)
    scale = 1e4 / np.max(np.abs(inputs @ kernel))
    layer.router.kernel.assign(scale * kernel)
    step = make_step(layer, form)(
        inputs, np.ones((2, 7), bool), np.ones_like(inputs)
    )
    assert np.isfinite(step.outputs).all()
    assert np.isfinite(step.losses).all()
    # The z-loss alone is beyond float16's 65504 before its weight of 0.001.
    assert step.losses[1] > 1000.0
    for name, gradient in step.gradients.items():
        assert np.isfinite(gradient).all(), name


def test_scores_that_all_underflow_have_finite_gradients(
    make_step, form, fill_weights
):
    router = TopKRouter(5, 2, score_function="sigmoid")
    layer = SparseMoE(5, 4, router=router)
    inputs = np.abs(draw(2, 7, 6)) + 1.0
    layer.build(inputs.shape)
    fill_weights(layer)
    # Logits below -200: every sigmoid is 0 in float32.
    layer.router.kernel.assign(np.full((6, 5), -40.0, "float32"))
    step = make_step(layer, form)(
        inputs, np.ones((2, 7), bool), np.ones_like(inputs)
    )
    assert np.isfinite(step.outputs).all()
    for name, gradient in step.gradients.items():
        assert np.isfinite(gradient).all(), name
