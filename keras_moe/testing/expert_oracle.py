"""The expert oracle: one token through one expert, forward and backward."""

import math

import numpy as np


def expert(token, gate_kernel, up_kernel, down_kernel, activation):
    """Send one token (H,) through one expert.

    `(activation(x W_gate) * (x W_up)) W_down` for a gated expert, as in the
    GLU variants of https://arxiv.org/abs/2002.05202 (equation 6), and
    `activation(x W_up) W_down` for a plain one. No biases.

    Args:
        token: float array of shape (H,).
        gate_kernel: float array of shape (H, I), or `None` for a plain expert.
        up_kernel: float array of shape (H, I).
        down_kernel: float array of shape (I, H).
        activation: `"silu"`, `"gelu"`, `"gelu_tanh"` or `"relu"`.

    Returns:
        A float64 array of shape (H,).

    Raises:
        ValueError: for an unknown `activation`.

    Example:

    >>> import numpy as np
    >>> token = np.array([2.0, -1.0])
    >>> identity = np.eye(2)
    >>> expert(token, None, identity, identity, "relu")
    array([2., 0.])
    >>> expert(token, identity, identity, identity, "relu")
    array([4., 0.])
    """
    up = token @ up_kernel  # (H,) -> (I,)
    if gate_kernel is None:
        hidden = activate(up, activation)
    else:
        gate = token @ gate_kernel  # (H,) -> (I,)
        hidden = activate(gate, activation) * up
    return hidden @ down_kernel  # (I,) -> (H,)


def expert_gradients(
    token, gate_kernel, up_kernel, down_kernel, activation, cotangent
):
    """Derive `sum(expert(...) * cotangent)` by the chain rule, by hand.

    Args:
        token: float array of shape (H,).
        gate_kernel: float array of shape (H, I), or `None` for a plain expert.
        up_kernel: float array of shape (H, I).
        down_kernel: float array of shape (I, H).
        activation: `"silu"`, `"gelu"`, `"gelu_tanh"` or `"relu"`.
        cotangent: float array of shape (H,), the gradient of the output.

    Returns:
        The gradients of token, gate kernel (`None` for a plain expert), up
        kernel and down kernel, each of the shape of its namesake.

    Example:

    >>> import numpy as np
    >>> token = np.array([2.0, -1.0])
    >>> eye = np.eye(2)
    >>> ones = np.ones(2)
    >>> expert_gradients(token, None, eye, eye, "relu", ones)[0]
    array([1., 0.])
    """
    up = token @ up_kernel
    if gate_kernel is None:
        hidden = activate(up, activation)
    else:
        gate = token @ gate_kernel
        hidden = activate(gate, activation) * up
    # output = hidden @ down_kernel
    d_down_kernel = np.outer(hidden, cotangent)  # (I, H)
    d_hidden = down_kernel @ cotangent  # (I,)
    if gate_kernel is None:
        # hidden = activation(up)
        d_up = d_hidden * activation_slope(up, activation)
        d_gate_kernel = None
        d_token = up_kernel @ d_up
    else:
        # hidden = activation(gate) * up
        d_up = d_hidden * activate(gate, activation)
        d_gate = d_hidden * up * activation_slope(gate, activation)
        d_gate_kernel = np.outer(token, d_gate)  # (H, I)
        d_token = up_kernel @ d_up + gate_kernel @ d_gate
    d_up_kernel = np.outer(token, d_up)  # (H, I)
    return d_token, d_gate_kernel, d_up_kernel, d_down_kernel


def activate(values, activation):
    """Apply the named activation to every value of a vector."""
    function, _ = _activation(activation)
    return np.array([function(float(x)) for x in values])


def activation_slope(values, activation):
    """Compute the derivative of the named activation at every value."""
    _, derivative = _activation(activation)
    return np.array([derivative(float(x)) for x in values])


def _activation(name):
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"Expected `activation` to be one of {sorted(_ACTIVATIONS)}. "
            f"Received: activation={name!r}. Choose one of these."
        )
    return _ACTIVATIONS[name]


def _sigmoid(x):
    # exp of a negative number only: it cannot overflow.
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))


def _silu(x):
    return x * _sigmoid(x)


def _silu_slope(x):
    s = _sigmoid(x)
    return s + x * s * (1.0 - s)


def _normal_cdf(x):
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


def _gelu(x):
    return x * _normal_cdf(x)


def _gelu_slope(x):
    density = math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return _normal_cdf(x) + x * density


def _gelu_tanh(x):
    # https://arxiv.org/abs/1606.08415, section 2: the tanh approximation.
    z = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1.0 + math.tanh(z))


def _gelu_tanh_slope(x):
    z = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    d_z = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * x**2)
    tanh = math.tanh(z)
    return 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh**2) * d_z


def _relu(x):
    return max(x, 0.0)


def _relu_slope(x):
    return 1.0 if x > 0 else 0.0


# "gelu" is the exact one, as `keras.activations.gelu` is by default.
_ACTIVATIONS = {
    "gelu": (_gelu, _gelu_slope),
    "gelu_tanh": (_gelu_tanh, _gelu_tanh_slope),
    "relu": (_relu, _relu_slope),
    "silu": (_silu, _silu_slope),
}
