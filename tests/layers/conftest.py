"""A training step of a layer: outputs, losses and every gradient as arrays."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops


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
