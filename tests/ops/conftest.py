"""Vector-Jacobian products of functions of tensors, on the running backend."""

import keras
import numpy as np
import pytest
from keras import ops


@pytest.fixture(scope="session")
def vjp():
    """Return `pull_back(function, arrays, cotangent)`.

    It gives the value of `function(*tensors)` and the gradients of
    `sum(value * cotangent)` for each array, as NumPy arrays. A gradient that
    the backend calls disconnected comes back as `None`.
    """
    return globals()[f"_pull_back_{keras.config.backend()}"]


@pytest.fixture(scope="session")
def compiled(backend):
    """Return a function's compiled form: XLA on JAX and TensorFlow."""
    if backend == "jax":
        import jax

        return jax.jit
    if backend == "tensorflow":
        import tensorflow as tf

        return lambda function: tf.function(function, jit_compile=True)
    import torch

    return lambda function: torch.compile(
        function, backend="eager", fullgraph=True
    )


def _pull_back_jax(function, arrays, cotangent):
    import jax

    tensors = [ops.convert_to_tensor(array) for array in arrays]
    value, pull_back = jax.vjp(function, *tensors)
    gradients = pull_back(ops.convert_to_tensor(cotangent, value.dtype))
    return _to_numpy(value), [_to_numpy(each) for each in gradients]


def _pull_back_torch(function, arrays, cotangent):
    import torch

    tensors = [
        ops.convert_to_tensor(array).detach().requires_grad_()
        for array in arrays
    ]
    value = function(*tensors)
    gradients = torch.autograd.grad(
        value,
        tensors,
        ops.convert_to_tensor(cotangent).to(value.dtype),
        allow_unused=True,
    )
    return _to_numpy(value), [_to_numpy(each) for each in gradients]


def _pull_back_tensorflow(function, arrays, cotangent):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    gradients = tape.gradient(value, tensors, tf.cast(cotangent, value.dtype))
    return _to_numpy(value), [_to_numpy(each) for each in gradients]


def _to_numpy(tensor):
    if tensor is None:
        return None
    return np.array(ops.convert_to_numpy(ops.cast(tensor, "float32")))
