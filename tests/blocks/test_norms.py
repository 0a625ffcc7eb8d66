"""The norms by name, against their formulae."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import make_norm


def norm_by_hand(kind, inputs, weights, epsilon):
    """Normalize the last axis in float64."""
    if kind != "rms":
        inputs = inputs - inputs.mean(-1, keepdims=True)
    mean_square = np.mean(inputs**2, -1, keepdims=True)
    outputs = inputs / np.sqrt(mean_square + epsilon) * weights[0]
    return outputs + weights[1] if kind == "layer" else outputs


@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
@pytest.mark.parametrize(
    ("kind", "num_weights"),
    [("rms", 1), ("layer", 2), ("layer_without_bias", 1)],
)
def test_outputs_equal_the_formula(kind, num_weights, epsilon):
    rng = np.random.default_rng(0)
    norm = make_norm(kind, epsilon, "float32", "some_norm")
    inputs = rng.normal(2.0, 0.5, size=(2, 3, 8))
    norm.build(inputs.shape)
    weights = [rng.normal(size=8) for _ in range(num_weights)]
    norm.set_weights(weights)
    outputs = norm(ops.convert_to_tensor(inputs, dtype="float32"))
    expected = norm_by_hand(kind, inputs, weights, epsilon)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=1e-5
    )
    assert norm.name == "some_norm"


@pytest.mark.parametrize("kind", ["rms", "layer", "layer_without_bias"])
def test_a_dtype_policy_is_followed(kind):
    norm = make_norm(kind, 1e-6, "mixed_bfloat16", "norm")
    outputs = norm(ops.ones((2, 8)))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert {weight.dtype for weight in norm.weights} == {"float32"}


def test_unknown_norms_are_refused_by_name():
    with pytest.raises(ValueError, match="'layer_without_bias'.*'batch'"):
        make_norm("batch", 1e-6, "float32", "norm")
