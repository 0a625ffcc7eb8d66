"""A selection bias moves once per optimizer step, by the load of all of it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.balancing import ExpertBias
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter

HIDDEN, EXPERTS, RATE = 6, 4, 0.125


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def make_model(accumulated, optimizer=None, **arguments):
    router = TopKRouter(
        EXPERTS,
        2,
        balancing=["load_balancing_loss", ExpertBias(RATE)],
        name="router",
    )
    inputs = keras.Input((3, HIDDEN))
    outputs = SparseMoE(EXPERTS, 4, router=router)(inputs)
    model = keras.Model(inputs, outputs)
    router.kernel.assign(draw(HIDDEN, EXPERTS, seed=1))
    # Nothing else moves, so that NumPy knows the choices of every step.
    optimizer = optimizer or keras.optimizers.SGD(
        0.0, gradient_accumulation_steps=accumulated
    )
    model.compile(optimizer, "mse", **arguments)
    return model, router


def bias_of(router):
    return np.array(ops.convert_to_numpy(router.expert_bias))


def expected_bias(router, batches, accumulated, bias=None, phase=0):
    """Move a bias by hand: choose with it, count, move at the step's end."""
    kernel = ops.convert_to_numpy(router.kernel)
    bias = np.zeros(EXPERTS, "float32") if bias is None else bias
    load = np.zeros(EXPERTS)
    for index, batch in enumerate(batches, start=phase):
        logits = batch @ kernel
        scores = np.exp(logits - logits.max(-1, keepdims=True))
        scores = scores / scores.sum(-1, keepdims=True) + bias
        chosen = np.argsort(-scores, axis=-1, kind="stable")[..., :2]
        load += np.bincount(chosen.ravel(), minlength=EXPERTS)
        if (index + 1) % accumulated == 0:
            bias = bias + testing.expert_bias_update(load, RATE)
            load = np.zeros(EXPERTS)
    return bias


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("accumulated", [None, 3])
def test_fit_moves_the_bias_once_per_optimizer_step(accumulated):
    model, router = make_model(accumulated)
    # Eleven batches of two: three steps of three and most of a fourth.
    inputs = draw(22, 3, HIDDEN)
    batches = inputs.reshape(11, 2, 3, HIDDEN)
    expected = expected_bias(router, batches, accumulated or 1)
    model.fit(inputs, inputs, batch_size=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(bias_of(router), expected)
    assert np.any(expected)
    if accumulated is None:
        return
    # The next `fit` goes on in the middle of the fourth step.
    model.fit(inputs, inputs, batch_size=2, shuffle=False, verbose=0)
    both = np.concatenate([batches, batches])
    expected = expected_bias(router, both, accumulated)
    np.testing.assert_array_equal(bias_of(router), expected)


def test_the_load_of_a_step_is_summed_not_the_signs():
    model, router = make_model(3)
    inputs = draw(6, 3, HIDDEN, seed=10)
    batches = inputs.reshape(3, 2, 3, HIDDEN)
    together = expected_bias(router, batches, 3)
    apart = sum(expected_bias(router, [batch], 1) for batch in batches)
    assert np.any(together * apart < 0)  # One expert, opposite ways.
    for batch in batches:
        model.train_on_batch(batch, batch)
    np.testing.assert_array_equal(bias_of(router), together)


@pytest.mark.exhaustive
def test_the_step_agrees_with_the_optimizer_after_compile_and_load(tmp_path):
    model, router = make_model(3)
    batches = draw(5, 2, 3, HIDDEN)
    for batch in batches[:2]:
        model.train_on_batch(batch, batch)
    assert not np.any(bias_of(router))
    model.save(tmp_path / "model.keras")
    # Loaded in the middle of a step, with the optimizer's counter.
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.train_on_batch(batches[2], batches[2])
    (layer,) = (each for each in loaded.layers if isinstance(each, SparseMoE))
    expected = expected_bias(router, batches[2:3], 3, phase=2)
    np.testing.assert_array_equal(bias_of(layer.router), expected)
    # A new optimizer begins a new step, without what came before.
    model.compile(
        keras.optimizers.SGD(0.0, gradient_accumulation_steps=2), "mse"
    )
    for batch in batches[:2]:
        model.train_on_batch(batch, batch)
    expected = expected_bias(router, batches[:2], 2)
    np.testing.assert_array_equal(bias_of(router), expected)


@pytest.mark.exhaustive
def test_a_loss_scale_optimizer_is_looked_into():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.0, gradient_accumulation_steps=2)
    )
    model, router = make_model(None, optimizer)
    batches = draw(2, 2, 3, HIDDEN)
    expected = expected_bias(router, batches, 2)
    model.train_on_batch(batches[0], batches[0])
    assert not np.any(bias_of(router))
    model.train_on_batch(batches[1], batches[1])
    np.testing.assert_array_equal(bias_of(router), expected)


def test_the_load_is_no_weight():
    model, router = make_model(2)
    assert [weight.name for weight in router.weights] == [
        "kernel",
        "expert_bias",
    ]
    assert len(model.get_weights()) == 4
