"""The product of the two branches of a gated feed-forward network."""

import keras
from keras import ops

from keras_moe.ops.backend import load_or

# In fewer passes than automatic differentiation takes, without a compiler.
_own = load_or("gated_silu", None)


def gated_activation(gate_up, activation):
    """Multiply the up branch by the activated gate branch.

    `act(gate) * up`, which with SiLU is the inside of SwiGLU (Shazeer, 2020,
    https://arxiv.org/abs/2002.05202, equation 5).

    Args:
        gate_up: float tensor of shape (..., 2I): gate first, then up.
        activation: function of a tensor.

    Returns:
        Tensor of shape (..., I), of the dtype of `gate_up`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> gate_up = np.array([[-1.0, 2.0, 5.0, 5.0]], "float32")
    >>> np.array(gated_activation(gate_up, keras.ops.relu)).tolist()
    [[0.0, 10.0]]
    """
    if _own and activation is keras.activations.silu:
        return _own.gated_silu(ops.convert_to_tensor(gate_up))
    gate, up = ops.split(gate_up, 2, axis=-1)
    return activation(gate) * up
