"""Gradients of blocks."""

import keras
import numpy as np
import pytest


@pytest.fixture
def fill_weights():
    """Return `fill(layer)`, which draws every weight.

    Kernels and biases are small, norms' scales are near 1: what stays at its
    initial value is not tested.
    """

    def fill(layer):
        rng = np.random.default_rng(0)
        for variable in layer.trainable_variables:
            offset = 1.0 if variable.name in ("scale", "gamma") else 0.0
            noise = rng.normal(scale=0.3, size=variable.shape)
            variable.assign((offset + noise).astype("float32"))

    return fill


@pytest.fixture
def differentiate(vjp):
    """Return `run(layer, inputs, cotangent, call=None)`.

    It gives the outputs of `call(inputs)`, by default the layer's, and the
    gradients of `sum(outputs * cotangent)` for the inputs and each trainable
    variable of the layer, by name.
    """

    def run(layer, inputs, cotangent, call=None):
        variables = layer.trainable_variables

        def function(inputs, *values):
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return (call or layer)(inputs)

        values = [keras.ops.convert_to_numpy(v) for v in variables]
        outputs, gradients = vjp(function, [inputs, *values], cotangent)
        names = ["inputs", *map(name_of, variables)]
        return outputs, dict(zip(names, gradients, strict=True))

    return run


def name_of(variable):
    # Without the layer's own name.
    return variable.path.partition("/")[2]
