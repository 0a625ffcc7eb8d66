"""Rematerialisation: the same numbers, computed twice."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import Router
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.losses import load_balancing_loss
from keras_moe.routing import Capacity
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens

HIDDEN, EXPERTS = 6, 5


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def scope(mode):
    return keras.RematScope(
        mode=mode, output_size_threshold=4, layer_names=["experts"]
    )


@keras.saving.register_keras_serializable(package="tests")
class CountingRouter(Router):
    """A router of one's own: with parts, a loss, and state."""

    def __init__(self, num_experts, **kwargs):
        super().__init__(num_experts, balancing=None, **kwargs)
        self.hidden = keras.layers.Dense(
            HIDDEN, "tanh", dtype="float32", name="hidden"
        )

    def build(self, inputs_shape):
        self.hidden.build(inputs_shape)
        self.logits = keras.layers.Dense(
            EXPERTS, dtype="float32", name="logits"
        )
        self.logits.build(inputs_shape)
        self.calls = self.add_weight(
            name="calls", initializer="zeros", trainable=False
        )
        super().build(inputs_shape)

    def route(self, inputs, padding_mask=None, training=None):
        logits = self.logits(self.hidden(inputs))
        plan = choose_top_k(logits, 2)
        if training:
            self.calls.assign_add(1.0)
            counted = count_tokens(plan, self.num_experts)
            self.add_loss(0.1 * load_balancing_loss(counted))
        return plan


def make_layer(mode, layer_class=SparseMoE, router=None, **arguments):
    with scope(mode):
        if router is not None:
            arguments["router"] = router(
                EXPERTS, name="router", capacity=arguments.pop("capacity")
            )
        return layer_class(EXPERTS, 4, **arguments)


def trained(mode, policy, layer_class, jit_compile, router=None):
    """Fit three steps; return losses, weights, outputs and counters."""
    layer = make_layer(
        mode, layer_class, router, capacity=Capacity(1.0), dtype=policy
    )
    sparse = getattr(layer, "routed_experts", layer)
    sparse.statistics.enabled = True
    inputs = keras.Input((7, HIDDEN))
    with scope(mode):
        outputs = layer(inputs)
    # Outside of the scope: Keras would recompute the model as a whole.
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
    x, y = draw(4, 7, HIDDEN), draw(4, 7, HIDDEN, seed=2)
    history = model.fit(x, y, batch_size=4, epochs=3, verbose=0).history
    return {
        "losses": np.array(history["loss"]),
        "outputs": model.predict(x, verbose=0).astype("float32"),
        **{
            weight.path.partition("/")[2]: ops.convert_to_numpy(weight.value)
            for weight in layer.weights
        },
        **sparse.statistics.result(),
    }


# XLA takes TensorFlow seconds to compile, hence once only.
@pytest.mark.sweep
@pytest.mark.parametrize(
    ("layer_class", "policy", "jit_compile", "router"),
    [
        (SparseMoE, "float32", keras.config.backend() != "torch", None),
        (SharedExpertMoE, "mixed_bfloat16", "auto", None),
        (SparseMoE, "float32", "auto", CountingRouter),
    ],
)
def test_training_gives_the_same_numbers(
    layer_class, policy, jit_compile, router
):
    plain = trained(None, policy, layer_class, jit_compile, router)
    again = trained("full", policy, layer_class, jit_compile, router)
    assert plain["steps"] == 3
    if router is not None:
        assert again["router/calls"] == 3
    assert plain.keys() == again.keys()
    # XLA may order the sums of the second pass differently.
    tolerance = {"float32": 1e-5, "mixed_bfloat16": 1e-2}[policy]
    for name, expected in plain.items():
        np.testing.assert_allclose(
            again[name], expected, rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("strategy", "policy"),
    [("slots", "float32"), ("sorted", "mixed_bfloat16")],
)
def test_gradients_are_the_same(
    strategy, policy, make_step, form, fill_weights
):
    inputs, cotangent = draw(2, 7, HIDDEN), draw(2, 7, HIDDEN, seed=1)
    steps = []
    for mode in (None, "full"):
        layer = make_layer(
            mode, strategy=strategy, capacity=Capacity(1.0), dtype=policy
        )
        layer.build(inputs.shape)
        fill_weights(layer)
        step = make_step(layer, form)
        steps.append(step(inputs, np.ones((2, 7), bool), cotangent))
    plain, again = steps
    tolerance = {"float32": 1e-6, "mixed_bfloat16": 1e-2}[policy]
    np.testing.assert_allclose(again.losses, plain.losses, rtol=1e-6)
    np.testing.assert_allclose(again.outputs, plain.outputs, atol=tolerance)
    for name, expected in plain.gradients.items():
        np.testing.assert_allclose(
            again.gradients[name],
            expected,
            atol=tolerance * np.max(np.abs(expected)),
            err_msg=name,
        )


class Counted:
    """An activation that counts how often it is computed."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return ops.silu(x)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (None, False),
        ("full", True),
        ("larger_than", True),
        ("list_of_layers", True),
    ],
)
def test_the_experts_are_computed_again_in_the_backward_pass(
    mode, expected, backend, make_step, fill_weights
):
    activation = Counted()
    layer = make_layer(mode, activation=activation)
    inputs = draw(1, 3, HIDDEN)
    layer.build(inputs.shape)
    fill_weights(layer)
    mask, cotangent = np.ones((1, 3), bool), np.ones_like(inputs)
    if backend != "jax":
        make_step(layer, "eager")(inputs, mask, cotangent)
        assert (activation.calls == 2) is expected
        return
    import jax

    def total(inputs):
        outputs, _ = layer.stateless_call(
            layer.trainable_variables, layer.non_trainable_variables, inputs
        )
        return ops.sum(outputs)

    program = str(jax.make_jaxpr(jax.grad(total))(inputs))
    assert ("remat" in program or "checkpoint" in program) is expected
