"""Functions compiled on the running backend."""

import pytest


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
