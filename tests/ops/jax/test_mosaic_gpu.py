"""JAX's kernels for Hopper: on one, and what takes their place elsewhere."""

import types

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

import jax
import jax.numpy as jnp

from keras_moe import testing
from keras_moe.ops.jax import grouped_kernels
from keras_moe.ops.jax import mosaic_gpu

PRODUCTS = grouped_kernels.IMPLEMENTATIONS["mosaic_gpu"]


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal(shape), "bfloat16")


def check(num_rows, inner, outer, group_sizes):
    inputs, cotangent = draw(num_rows, inner), draw(num_rows, outer, seed=1)
    kernels = draw(len(group_sizes), inner, outer, seed=2)
    past = sum(group_sizes)
    inputs = inputs.at[past:].set(jnp.nan)
    cotangent = cotangent.at[past:].set(jnp.nan)
    sizes = jnp.asarray(group_sizes, "int32")
    actual = (
        PRODUCTS.rows(inputs, kernels, sizes, transpose_kernels=False),
        PRODUCTS.rows(cotangent, kernels, sizes, transpose_kernels=True),
        PRODUCTS.outer(inputs, cotangent, sizes),
    )
    arrays = [
        np.nan_to_num(np.asarray(each.astype("float32")))
        for each in (inputs, kernels, cotangent)
    ]
    expected = (
        testing.grouped_matmul(*arrays[:2], group_sizes),
        *testing.grouped_matmul_gradients(*arrays[:2], group_sizes, arrays[2]),
    )
    for product, wanted in zip(actual, expected, strict=True):
        assert product.dtype == "bfloat16"
        difference = np.abs(np.asarray(product.astype("float32")) - wanted)
        # One rounding to 8 bits at the end.
        assert np.max(difference) <= 2**-8 * np.max(np.abs(wanted))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "group_sizes", [[100, 0, 28, 150], [0, 0, 300, 0], [1, 2, 3, 4]]
)
def test_the_kernels_agree_with_the_oracle(group_sizes):
    assert mosaic_gpu.takes(draw(300, 256), draw(4, 256, 128))
    check(300, 256, 128, group_sizes)


@pytest.mark.parametrize("num_rows", [320, 300])
def test_programs_for_hopper_hold_the_kernels(num_rows, monkeypatch):
    monkeypatch.setattr(mosaic_gpu, "_on_hopper", lambda: True)
    # All that JAX asks the device for is how many multiprocessors it has.
    hopper = types.SimpleNamespace(core_count=132)
    monkeypatch.setattr(jax, "devices", lambda: [hopper])

    def all_products(inputs, cotangent, kernels, sizes):
        return (
            PRODUCTS.rows(inputs, kernels, sizes, transpose_kernels=False),
            PRODUCTS.rows(cotangent, kernels, sizes, transpose_kernels=True),
            PRODUCTS.outer(inputs, cotangent, sizes),
        )

    shapes = (num_rows, 256), (num_rows, 128), (4, 256, 128)
    program = (
        jax.jit(all_products)
        .trace(
            *(jax.ShapeDtypeStruct(shape, "bfloat16") for shape in shapes),
            jax.ShapeDtypeStruct((4,), "int32"),
        )
        .lower(lowering_platforms=("cuda",))
        .as_text()
    )
    assert program.count("custom_call @mosaic_gpu") == 3
    assert "stablehlo.while" not in program


def test_what_does_not_fit_takes_long_blocks():
    # No whole tiles, and without a GPU no Hopper.
    assert not mosaic_gpu.takes(draw(21, 3), draw(4, 3, 5))
    check(21, 3, 5, [0, 3, 0, 11])


def test_jax_still_has_the_kernels():
    """If this fails: JAX has moved or removed its grouped kernels for Hopper.

    Until then products on CUDA are `long_blocks`, which take twice the time.
    Look whether XLA has learnt `ragged_dot` on CUDA (`benchmarks/run.py layer
    --scale gpu`): then remove file and rule. Otherwise take the kernels from
    tokamax, and change `keras_moe/ops/jax/mosaic_gpu.py`.
    """
    assert mosaic_gpu.ragged_dot is not None
