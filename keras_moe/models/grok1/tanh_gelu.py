"""The activation of Grok-1's experts."""

import keras


@keras.saving.register_keras_serializable(package="keras_moe")
def tanh_gelu(inputs):
    """Apply the GELU in its tanh approximation.

    `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))` (Hendrycks and
    Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2), which
    `jax.nn.gelu` computes unless told otherwise. A name of its own, so that
    a layer's configuration can hold it.

    Args:
        inputs: float tensor.

    Returns:
        Tensor of the shape and dtype of `inputs`.

    Example:

    >>> import numpy as np
    >>> one = np.ones((), "float32")
    >>> bool(tanh_gelu(one) < keras.activations.gelu(one))
    True
    """
    return keras.activations.gelu(inputs, approximate=True)
