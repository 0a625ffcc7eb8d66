"""How exactly a model computes where it is."""

import keras

from keras_moe.ops.all_layers import all_layers

HALF = {"bfloat16", "float16"}


def is_exact(model):
    """Tell whether a model computes in float32, or better, on a processor.

    Accelerators may multiply float32 numbers with fewer digits (TF32,
    bfloat16), as JAX does by default.

    Args:
        model: a built `keras.Model`.

    Returns:
        bool.
    """
    policies = [layer.dtype_policy for layer in all_layers(model)]
    is_rough = any(
        x.quantization_mode is not None or x.compute_dtype in HALF
        for x in policies
    )
    return not is_rough and _on_cpu(model)


def _on_cpu(model):
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    if backend == "torch":
        return all(x.value.device.type == "cpu" for x in model.weights)
    return not keras.distribution.list_devices("gpu")
