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
        gate_up: float tensor of shape (..., 2I): gate first, then up. With
            `swiglu` as the activation (..., 3I), for it halves the gate.
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
    num_branches = gate_branches(activation)
    width = gate_up.shape[-1] // (num_branches + 1)
    gate, up = ops.split(gate_up, [num_branches * width], axis=-1)
    return activation(gate) * up


@keras.saving.register_keras_serializable(package="keras_moe")
def swiglu(inputs):
    """Multiply one half by the other's SiLU: an activation with two branches.

    As the activation of a gated network it makes three branches,
    `(x W_1 * silu(x W_2)) * (x W_up)`: OpenMoE's
    (https://arxiv.org/abs/2402.01739), beside the two of the SwiGLU of
    Shazeer, 2020 (https://arxiv.org/abs/2002.05202, equation 5), which
    `activation="silu"` stands for.

    Args:
        inputs: float tensor of shape (..., 2I).

    Returns:
        Tensor of shape (..., I).

    Example:

    >>> import numpy as np
    >>> np.array(swiglu(np.array([[3.0, 100.0]], "float32"))).tolist()
    [[300.0]]
    """
    linear, gate = ops.split(inputs, 2, axis=-1)
    return linear * keras.activations.silu(gate)


def gate_branches(activation):
    """Return how many branches wide the gate of an activation is.

    Args:
        activation: function of a tensor.

    Returns:
        int, 2 for `swiglu` and 1 for all others.

    Example:

    >>> gate_branches(swiglu), gate_branches(keras.activations.silu)
    (2, 1)
    """
    return 2 if activation is swiglu else 1
