"""The Pallas kernel for TPU, interpreted on CPU."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

import jax.numpy as jnp

from keras_moe import testing
from keras_moe.ops.jax import grouped_kernels
from keras_moe.ops.jax import megablox
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


def test_without_the_kernel_the_product_is_xlas(monkeypatch):
    monkeypatch.setattr(megablox, "tgmm", None)
    inputs, cotangents = jnp.ones((5, 2)), jnp.full((5, 3), 2.0)
    sums = grouped_kernels.tiled_outer(
        inputs, cotangents, jnp.asarray([3, 0, 1], "int32")
    )
    # 1 * 2 for each row of the group; the last row is in none.
    expected = np.ones((3, 2, 3)) * [[[6.0]], [[0.0]], [[2.0]]]
    np.testing.assert_array_equal(np.asarray(sums), expected)


def test_jax_still_has_the_kernel():
    """If this fails: JAX has moved or removed `megablox`.

    Until then XLA multiplies E masked copies of all rows on TPU. Look whether
    XLA has learnt it (`tests/layers/test_tpu.py` without the rule "megablox"
    in `keras_moe/ops/implementations.py`): then remove file and rule. Otherwise
    take the kernel from tokamax, and change `keras_moe/ops/jax/megablox.py`.
    """
    assert megablox.tgmm is not None
