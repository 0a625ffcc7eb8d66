"""A training step of a layer: outputs, losses and every gradient as arrays."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing


class Step(NamedTuple):
    """One forward and backward pass, as NumPy arrays."""

    outputs: np.ndarray
    losses: list  # of floats, in the order of `add_loss`
    gradients: dict  # "inputs" and the path of each variable in the layer


@pytest.fixture
def make_step(backend):
    """Return `make(layer, form)`, which makes a function that runs a step.

    The step, `step(inputs, padding_mask, cotangent)`, differentiates
    `sum(outputs * cotangent) + sum(losses)` while training, in the way of the
    backend: `jax.grad` of `stateless_call`, autograd, `tf.GradientTape`. The
    form is `"eager"` or `"compiled"`: XLA on JAX and TensorFlow.
    """
    return globals()[f"_{backend}_step"]


@pytest.fixture
def form(backend):
    """The quick form: eager JAX compiles every operation on its own."""
    return "compiled" if backend == "jax" else "eager"


def _jax_step(layer, form):
    import jax

    def objective(variables, inputs, padding_mask, cotangent):
        outputs, _, losses = layer.stateless_call(
            variables,
            [variable.value for variable in layer.non_trainable_variables],
            inputs,
            padding_mask=padding_mask,
            training=True,
            return_losses=True,
        )
        total = ops.sum(ops.cast(outputs, "float32") * cotangent)
        return total + sum(losses), (outputs, losses)

    differentiate = jax.grad(objective, (0, 1), has_aux=True)
    if form == "compiled":
        differentiate = jax.jit(differentiate)

    def step(inputs, padding_mask, cotangent):
        variables = [variable.value for variable in layer.trainable_variables]
        (for_variables, for_inputs), (outputs, losses) = differentiate(
            variables, ops.convert_to_tensor(inputs), padding_mask, cotangent
        )
        return _step(layer, outputs, losses, [for_inputs, *for_variables])

    return step


def _torch_step(layer, form):
    import torch

    if form != "eager":
        raise NotImplementedError

    def step(inputs, padding_mask, cotangent):
        inputs = ops.convert_to_tensor(inputs).requires_grad_()
        outputs = layer(inputs, padding_mask=padding_mask, training=True)
        losses = layer.losses
        total = torch.sum(outputs.float() * ops.convert_to_tensor(cotangent))
        variables = [variable.value for variable in layer.trainable_variables]
        gradients = torch.autograd.grad(
            total + sum(losses), [inputs, *variables], allow_unused=True
        )
        return _step(layer, outputs, losses, gradients)

    return step


def _tensorflow_step(layer, form):
    import tensorflow as tf

    def run(inputs, padding_mask, cotangent):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, padding_mask=padding_mask, training=True)
            losses = layer.losses
            total = tf.reduce_sum(tf.cast(outputs, "float32") * cotangent)
            total += sum(losses)
        sources = [inputs, *(v.value for v in layer.trainable_variables)]
        return outputs, losses, tape.gradient(total, sources)

    if form == "compiled":
        run = tf.function(run, jit_compile=True)

    def step(inputs, padding_mask, cotangent):
        if padding_mask is not None:
            padding_mask = tf.convert_to_tensor(padding_mask)
        outputs, losses, gradients = run(
            tf.convert_to_tensor(inputs), padding_mask, cotangent
        )
        return _step(layer, outputs, losses, gradients)

    return step


def _step(layer, outputs, losses, gradients):
    paths = [v.path.partition("/")[2] for v in layer.trainable_variables]
    names = ["inputs", *paths]
    assert len(set(names)) == len(names)
    return Step(
        _to_numpy(outputs),
        [float(_to_numpy(loss)) for loss in losses],
        {
            name: None if gradient is None else _to_numpy(gradient)
            for name, gradient in zip(names, gradients, strict=True)
        },
    )


def _to_numpy(tensor):
    if keras.config.backend() == "torch":
        tensor = tensor.detach()
    return np.array(ops.convert_to_numpy(ops.cast(tensor, "float32")))


@pytest.fixture
def fill_weights():
    """Return `fill(layer, seed=0)`, which draws every trainable weight.

    Normal numbers of the size of Glorot's, the same on every backend.
    """

    def fill(layer, seed=0):
        rng = np.random.default_rng(seed)
        for variable in layer.trainable_variables:
            scale = (2.0 / max(sum(variable.shape[-2:]), 1)) ** 0.5
            variable.assign(
                (scale * rng.standard_normal(variable.shape)).astype("float32")
            )

    return fill


@pytest.fixture
def check_against_formula(make_step, fill_weights, form):
    """Return `check(layer, formula, inputs, padding_mask)`.

    `formula(inputs, weights)` computes outputs and a total of the losses from
    float64 arrays, the weights by their paths in the layer. The layer's
    outputs, losses and every gradient have to agree with it; the gradients
    come from central differences.
    """

    def check(layer, formula, inputs, padding_mask=None):
        layer.build(inputs.shape)
        fill_weights(layer)
        rng = np.random.default_rng(1)
        cotangent = rng.standard_normal(inputs.shape).astype("float32")
        seen = inputs.copy()
        if padding_mask is not None:
            seen[~padding_mask] = np.nan  # Reaches nothing.
        step = make_step(layer, form)(seen, padding_mask, cotangent)
        arrays = {"inputs": inputs}
        for variable in layer.trainable_variables:
            _, _, path = variable.path.partition("/")
            arrays[path] = _to_numpy(variable.value)
        arrays = {name: each.astype("float64") for name, each in arrays.items()}

        def both(arrays):
            weights = {**arrays}
            return formula(weights.pop("inputs"), weights)

        def total(arrays):
            outputs, losses = both(arrays)
            return np.sum(outputs * cotangent) + losses

        outputs, losses = both(arrays)
        # Sums of tens of products of numbers near 1, in float32.
        np.testing.assert_allclose(step.outputs, outputs, rtol=1e-4, atol=2e-6)
        assert sum(step.losses) == pytest.approx(losses, rel=1e-5)
        for name, gradient in step.gradients.items():
            expected = central_differences(total, arrays, name)
            scale = np.max(np.abs(expected))
            assert scale > 1e-3, name
            np.testing.assert_allclose(
                gradient, expected, rtol=1e-4, atol=2e-5 * scale, err_msg=name
            )
        return step

    return check


def central_differences(function, arrays, name, step=1e-5):
    """Differentiate a function of a dict of float64 arrays by one of them.

    The error is near `step ** 2`, and 1e-16 / `step` of rounding.
    """
    gradient = np.zeros(arrays[name].shape)
    for index in np.ndindex(gradient.shape):
        moved = [arrays[name].copy(), arrays[name].copy()]
        moved[0][index] += step
        moved[1][index] -= step
        high, low = (function({**arrays, name: each}) for each in moved)
        gradient[index] = (high - low) / (2 * step)
    return gradient


@pytest.fixture
def expert_outputs():
    """Return `outputs(tokens, weights)`: each expert's, float64 (E, ..., H)."""

    def outputs(tokens, weights):
        gate, up = np.split(weights["experts/gate_up/kernel"], 2, axis=-1)
        down = weights["experts/down/kernel"]
        flat = tokens.reshape(-1, tokens.shape[-1])
        rows = [
            [testing.expert(token, *kernels, "silu") for token in flat]
            for kernels in zip(gate, up, down, strict=True)
        ]
        return np.reshape(rows, (len(down), *tokens.shape))

    return outputs
