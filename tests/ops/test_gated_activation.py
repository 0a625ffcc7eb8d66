"""The inside of a gated feed-forward network, with its gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.ops import gated_activation
from keras_moe.ops import swiglu


def silu_and_slope(x):
    sigmoid = 1.0 / (1.0 + np.exp(-x))
    return x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid))


def relu_and_slope(x):
    return np.maximum(x, 0.0), (x > 0).astype("float64")


@pytest.mark.parametrize(
    ("activation", "by_hand"),
    [
        (keras.activations.silu, silu_and_slope),
        (keras.activations.relu, relu_and_slope),
    ],
    ids=["silu", "relu"],
)
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4), (0, 4)], ids=str)
def test_value_and_gradient_agree_with_the_formula(
    vjp, activation, by_hand, shape
):
    rng = np.random.default_rng(0)
    gate_up = 3.0 * rng.standard_normal(shape)
    width = shape[-1] // 2
    cotangent = rng.standard_normal((*shape[:-1], width))
    outputs, (gradient,) = vjp(
        lambda gate_up: gated_activation(gate_up, activation),
        (gate_up.astype("float32"),),
        cotangent.astype("float32"),
    )
    gate, up = gate_up[..., :width], gate_up[..., width:]
    value, slope = by_hand(gate)
    np.testing.assert_allclose(outputs, value * up, rtol=1e-5, atol=1e-6)
    expected = [cotangent * up * slope, cotangent * value]
    np.testing.assert_allclose(
        gradient, np.concatenate(expected, -1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_half_precision(dtype):
    gate_up = ops.ones((2, 4), dtype=dtype)
    outputs = gated_activation(gate_up, keras.activations.silu)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(outputs, "float32")), 0.731, atol=4e-3
    )


def test_three_branches_agree_with_the_formula(vjp):
    rng = np.random.default_rng(0)
    branches = rng.standard_normal((5, 6))
    linear, gate, up = np.split(branches, 3, axis=-1)
    cotangent = rng.standard_normal((5, 2))
    outputs, (gradient,) = vjp(
        lambda branches: gated_activation(branches, swiglu),
        (branches.astype("float32"),),
        cotangent.astype("float32"),
    )
    value, slope = silu_and_slope(gate)
    np.testing.assert_allclose(outputs, linear * value * up, rtol=1e-5)
    expected = [value * up, linear * slope * up, linear * value]
    np.testing.assert_allclose(
        gradient,
        np.concatenate([cotangent * each for each in expected], -1),
        rtol=1e-5,
        atol=1e-5,
    )
