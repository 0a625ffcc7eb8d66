"""The products for GPU and TPU, run here on CPU, and their choice."""

import re

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

import jax
import jax.numpy as jnp

from keras_moe import testing
from keras_moe.ops import grouped_matmul
from keras_moe.ops.jax import grouped_kernels

ROWS, INNER, OUTER = 21, 3, 4
SIZES = [[0, 3, 0, 11], [21, 0, 0, 0], [1, 8, 7, 5], [0, 0, 0, 0]]


@pytest.fixture
def case():
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype("float32")

    return draw(ROWS, INNER), draw(4, INNER, OUTER), draw(ROWS, OUTER)


def on_cpu():
    """Runs what was exported for a CPU, also where there is a GPU."""
    return jax.default_device(jax.devices("cpu")[0])


def assert_near(actual, expected):
    scale = np.max(np.abs(expected)) or 1.0
    assert np.max(np.abs(actual - expected)) <= 1e-5 * scale


@pytest.mark.parametrize("group_sizes", SIZES)
def test_ragged_products_agree_with_the_oracle(case, group_sizes):
    inputs, kernels, cotangent = case
    sizes = jnp.array(group_sizes)
    assert_near(
        grouped_kernels.ragged_rows(inputs, kernels, sizes, False),
        testing.grouped_matmul(inputs, kernels, group_sizes),
    )
    for_inputs, for_kernels = testing.grouped_matmul_gradients(
        inputs, kernels, group_sizes, cotangent
    )
    assert_near(
        grouped_kernels.ragged_rows(cotangent, kernels, sizes, True),
        for_inputs,
    )
    assert_near(
        grouped_kernels.ragged_outer(inputs, cotangent, sizes), for_kernels
    )


def test_ragged_products_do_not_read_rows_past_the_sum(case):
    inputs, kernels, cotangent = case
    clean = inputs.copy(), cotangent.copy()
    for array, cleaned in zip((inputs, cotangent), clean, strict=True):
        array[14:], cleaned[14:] = np.nan, 0.0
    sizes = [0, 3, 0, 11]
    rows = grouped_kernels.ragged_rows(inputs, kernels, jnp.array(sizes), False)
    assert_near(rows, testing.grouped_matmul(clean[0], kernels, sizes))
    assert_near(
        grouped_kernels.ragged_outer(inputs, cotangent, jnp.array(sizes)),
        testing.grouped_matmul_gradients(clean[0], kernels, sizes, clean[1])[1],
    )


def products_and_gradients(inputs, kernels, group_sizes):
    def total(inputs, kernels):
        return jnp.sum(grouped_matmul(inputs, kernels, group_sizes) ** 2)

    return jax.value_and_grad(total, (0, 1))(inputs, kernels)


def program_for(platform, case):
    traced = jax.jit(products_and_gradients).trace(
        case[0], case[1], jnp.array(SIZES[0])
    )
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    ("platform", "ragged", "pallas"), [("tpu", 2, 1), ("rocm", 3, 0)]
)
def test_programs_for_accelerators_hold_grouped_kernels(
    case, platform, ragged, pallas
):
    program = program_for(platform, case)
    # Forward, gradient of the inputs; the gradient of the kernels is the
    # third, which on TPU XLA would compute with every expert on every row.
    assert program.count('"chlo.ragged_dot"(') == ragged
    assert program.count("custom_call @tpu_custom_call") == pallas
    # The Pallas kernel's plan has small loops.
    assert pallas or "while" not in program


def test_programs_for_cuda_loop_a_known_number_of_times(case):
    program = program_for("cuda", case)
    assert "ragged_dot" not in program
    assert program.count("stablehlo.while") == 3
    # 21 rows in blocks of 2, and one more block for each of 4 groups.
    end = r"cond {\s+%\S+ = stablehlo.constant dense<(\d+)>"
    assert re.findall(end, program) == ["14"] * 3


def test_programs_for_cpu_loop_over_blocks(case):
    lowered = jax.jit(products_and_gradients).lower(
        case[0], case[1], jnp.array(SIZES[0])
    )
    program = lowered.as_text()
    assert "ragged_dot" not in program
    assert program.count("stablehlo.while") == 3


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_symbolic_number_of_rows_is_exported(case, platform):
    inputs, kernels, _ = case
    (rows,) = jax.export.symbolic_shape("r")
    exported = jax.export.export(
        jax.jit(products_and_gradients), platforms=[platform]
    )(
        jax.ShapeDtypeStruct((rows, INNER), "float32"),
        jax.ShapeDtypeStruct(kernels.shape, "float32"),
        jax.ShapeDtypeStruct((4,), "int32"),
    )
    assert ("ragged_dot" in exported.mlir_module()) == (platform == "tpu")
    if platform != "cpu":
        return
    for num_rows in (1, ROWS):
        sizes = np.array([0, 1, 0, num_rows - 1], "int32")
        with on_cpu():
            value, gradients = exported.call(inputs[:num_rows], kernels, sizes)
        outputs = testing.grouped_matmul(inputs[:num_rows], kernels, sizes)
        np.testing.assert_allclose(value, np.sum(outputs**2), rtol=1e-5)
        expected = testing.grouped_matmul_gradients(
            inputs[:num_rows], kernels, sizes, 2 * outputs
        )
        for actual, wanted in zip(gradients, expected, strict=True):
            assert_near(actual, wanted)


def test_one_export_serves_cpu_and_tpu(case):
    inputs, kernels, _ = case
    sizes = np.array(SIZES[2], "int32")
    exported = jax.export.export(
        jax.jit(grouped_matmul), platforms=("cpu", "tpu")
    )(inputs, kernels, sizes)
    assert "ragged_dot" in exported.mlir_module()
    with on_cpu():
        outputs = exported.call(inputs, kernels, sizes)
    assert_near(
        outputs,
        testing.grouped_matmul(inputs, kernels, SIZES[2]),
    )
