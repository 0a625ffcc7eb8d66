"""The Pallas kernel for TPU, interpreted on CPU."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

import jax.numpy as jnp

from keras_moe import testing
from keras_moe.ops.jax.megablox import grouped_outer


# Rows and widths of less than a tile, of more, and of no multiple of it.
@pytest.mark.sweep(first=2)
@pytest.mark.parametrize(
    ("num_rows", "inner", "outer", "group_sizes"),
    [
        (21, 3, 5, [0, 3, 0, 11]),
        (21, 3, 5, [21, 0, 0, 0]),
        (300, 130, 70, [130, 0, 150]),
        (256, 128, 600, [0, 0]),
    ],
)
def test_agrees_with_the_oracle_and_reads_no_row_past_the_sum(
    num_rows, inner, outer, group_sizes
):
    rng = np.random.default_rng(0)
    inputs, cotangent = (
        rng.standard_normal((num_rows, width)).astype("float32")
        for width in (inner, outer)
    )
    _, expected = testing.grouped_matmul_gradients(
        inputs,
        np.zeros((len(group_sizes), inner, outer), "float32"),
        group_sizes,
        cotangent,
    )
    past = sum(group_sizes)
    inputs[past:] = cotangent[past:] = np.nan
    sums = grouped_outer(
        jnp.asarray(inputs),
        jnp.asarray(cotangent),
        jnp.asarray(group_sizes, "int32"),
        interpret=True,
    )
    scale = np.max(np.abs(expected)) or 1.0
    assert np.max(np.abs(np.asarray(sums) - expected)) <= 1e-5 * scale
