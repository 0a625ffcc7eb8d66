"""A frozen weight with its low-rank adapters, as one variable."""

import keras
import numpy as np


class AdaptedVariable:
    """Reads and writes a layer's weight as if it had no adapters.

    Keras' `enable_lora` freezes a weight W and adds two of its own:
    `W + alpha / rank * A @ B` (Hu et al., 2021,
    https://arxiv.org/abs/2106.09685, equation 3). Published formats hold the
    sum.

    Args:
        layer: Keras layer with `lora_enabled`.
        name: str, of the weight, such as `"kernel"`.

    Attributes:
        parts: list of the three variables.
        shape: of W.
        dtype: of W.
        path: of W.

    Example:

    >>> layer = keras.layers.Dense(2, lora_rank=1)
    >>> layer.build((None, 3))
    >>> layer.lora_kernel_b.assign(np.ones((1, 2)))
    >>> merged = AdaptedVariable(layer, "kernel").value
    >>> kernel, lora_a = (
    ...     keras.ops.convert_to_numpy(variable)
    ...     for variable in (layer.variables[0], layer.lora_kernel_a)
    ... )
    >>> bool(np.allclose(merged, kernel + lora_a))
    True
    """

    def __init__(self, layer, name):
        variables = {variable.name: variable for variable in layer.variables}
        self._scale = layer.lora_alpha / layer.lora_rank
        self.parts = [
            variables[each]
            for each in (name, f"lora_{name}_a", f"lora_{name}_b")
        ]
        frozen = self.parts[0]
        self.shape, self.dtype, self.path = (
            frozen.shape,
            frozen.dtype,
            frozen.path,
        )

    @property
    def value(self):
        """The merged weight, a float32 array."""
        frozen, first, second = (
            np.asarray(keras.ops.convert_to_numpy(part.value), "float32")
            for part in self.parts
        )
        return frozen + self._scale * (first @ second)

    def assign(self, value):
        """Set the weight; the adapters start again from nothing.

        Args:
            value: array of the weight's shape.
        """
        frozen, _, second = self.parts
        frozen.assign(value)
        second.assign(keras.ops.zeros(second.shape, second.dtype))


def adapted(layer, name):
    """Tell whether a layer's weight has adapters.

    Args:
        layer: any object.
        name: str, of its attribute.

    Returns:
        bool.

    Example:

    >>> adapted(keras.layers.Dense(2), "kernel")
    False
    """
    return getattr(layer, "lora_enabled", False) and hasattr(
        layer, f"lora_{name}_a"
    )
