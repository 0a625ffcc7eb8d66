"""Other float types than float32, and JAX with 64-bit numbers."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.balancing import ExpertBias
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups

CAPACITY = {
    "strategy": "slots",
    "capacity": Capacity(0.6, 0.6, priority="score"),
}
exhaustive = pytest.mark.exhaustive


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.fixture
def wide(backend):
    """A context in which there are 64-bit numbers: JAX has to be asked."""
    if backend != "jax":
        return contextlib.nullcontext
    import jax

    return lambda: jax.enable_x64(True)


def make_router():
    # Everything that computes something.
    return TopKRouter(
        4,
        2,
        score_function="sigmoid",
        balancing=[ExpertBias(0.01), "load_balancing_loss", "router_z_loss"],
        expert_groups=ExpertGroups(2, 1, "top2_sum"),
        combine_weights=CombineWeights(power=2.0, scale=2.5),
        jitter_noise=0.1,
        kernel_regularizer="l2",
        name="router",
    )


LAYERS = {
    "sorted": lambda: SparseMoE(4, 8, router=make_router()),
    "slots": lambda: SparseMoE(4, 8, **CAPACITY),
    "dense": lambda: SparseMoE(4, 8, strategy="dense", gated=False),
    "shared": lambda: SharedExpertMoE(4, 8, use_shared_expert_gate=True),
}


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("floatx", "names"),
    [
        ("float64", ["sorted", "dense"]),
        ("bfloat16", ["sorted", "dense"]),
        pytest.param("float16", ["sorted", "dense"], marks=exhaustive),
        pytest.param("float64", ["slots", "shared"], marks=exhaustive),
        pytest.param("float16", ["slots", "shared"], marks=exhaustive),
    ],
)
def test_a_model_trains_under_every_floatx(floatx, names, wide, backend):
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)
    inputs = draw(2, 3, 6)
    with wide() if floatx == "float64" else contextlib.nullcontext():
        layers = [LAYERS[name]() for name in names]
        model = keras.Sequential([keras.Input((3, 6)), *layers])
        # The trainer's own sum of losses, on TensorFlow without its graph.
        model.compile("sgd", "mse", run_eagerly=backend == "tensorflow")
        loss = model.train_on_batch(inputs, inputs)
        outputs = layers[0](inputs)
    assert np.isfinite(float(loss))
    assert keras.backend.standardize_dtype(outputs.dtype) == floatx


@pytest.mark.parametrize(
    "arguments", [{}, pytest.param(CAPACITY, marks=exhaustive)]
)
def test_a_float64_layer_agrees_with_the_oracle(
    arguments, make_step, form, fill_weights, wide
):
    inputs, cotangent = draw(2, 7, 6), draw(2, 7, 6, seed=1)
    with wide():
        layer = SparseMoE(5, 4, dtype="float64", **arguments)
        layer.build(inputs.shape)
        fill_weights(layer)
        step = make_step(layer, form)(
            inputs.astype("float64"), np.ones((2, 7), bool), cotangent
        )
        router, gate_up, down = (
            ops.convert_to_numpy(variable.value)
            for variable in layer.trainable_variables
        )
    expected = testing.moe_gradients(
        inputs,
        router,
        *np.split(gate_up, 2, axis=-1),
        down,
        cotangent,
        top_k=2,
        load_balancing_loss_weight=0.01,
        router_z_loss_weight=0.001,
        capacity_factor=arguments.get("capacity", Capacity()).factor,
        priority=arguments.get("capacity", Capacity()).priority,
    )
    gate, up = expected.gate_kernel, expected.up_kernel
    wanted = {
        "inputs": expected.inputs,
        "router/kernel": expected.router_kernel,
        "experts/gate_up/kernel": np.concatenate([gate, up], axis=-1),
        "experts/down/kernel": expected.down_kernel,
    }
    assert step.gradients.keys() == wanted.keys()
    for name, gradient in step.gradients.items():
        # The routing is float32.
        error = np.max(np.abs(gradient - wanted[name]))
        assert error <= 1e-5 * np.max(np.abs(wanted[name])), name


@pytest.mark.parametrize(
    "name",
    [
        "sorted",
        pytest.param("slots", marks=exhaustive),
        pytest.param("dense", marks=exhaustive),
        pytest.param("shared", marks=exhaustive),
    ],
)
def test_64_bit_mode_changes_nothing_in_float32(
    name, make_step, form, fill_weights, wide, backend
):
    if backend != "jax":
        pytest.skip("JAX alone has such a mode")
    inputs, cotangent = draw(2, 3, 6), draw(2, 3, 6, seed=1)
    mask = np.arange(6).reshape(2, 3) < 5

    def run():
        layer = LAYERS[name]()
        layer.build(inputs.shape)
        fill_weights(layer)
        router = getattr(layer, "routed_experts", layer).router
        router.jitter_noise = 0.0  # Other numbers are drawn with 64 bits.
        return make_step(layer, form)(inputs, mask, cotangent)

    expected = run()
    with wide():
        actual = run()
    np.testing.assert_allclose(
        actual.outputs, expected.outputs, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(actual.losses, expected.losses, rtol=1e-5)
    for variable, gradient in actual.gradients.items():
        scale = np.max(np.abs(expected.gradients[variable]))
        error = np.max(np.abs(gradient - expected.gradients[variable]))
        assert error <= 1e-5 * scale, variable
