"""Operators in Triton, on a GPU.

Without one, Triton can interpret them: `TRITON_INTERPRET=1 pytest` with a
PyTorch that comes with Triton.
"""

import os

import keras
import numpy as np
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch

from keras_moe.ops import row_sums
from keras_moe.ops.torch import one_pass

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and "TRITON_INTERPRET" not in os.environ:
    pytest.skip("needs a GPU or TRITON_INTERPRET=1", allow_module_level=True)

from keras_moe.ops.torch import triton_kernels  # noqa: E402

TOKENS, TOP_K = 7, 3
# The half of a block, and more than one.
WIDTHS = (500, 1100)
DTYPES = (torch.float32, torch.bfloat16)


def draw(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def draw_rows(width, dtype):
    rows = draw(TOKENS * TOP_K, width, dtype=dtype)
    order = torch.randperm(
        TOKENS * TOP_K, generator=torch.Generator().manual_seed(1)
    )
    inverse = torch.argsort(order).reshape(TOKENS, TOP_K)
    order, inverse = (x.to(DEVICE, torch.int32) for x in (order, inverse))
    return rows, draw(TOKENS, TOP_K, seed=2), order, inverse


def assert_near(actual, expected, dtype):
    # Sums in float32, and one rounding; the interpreter cuts off, hence 2**-7.
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    difference = (actual.float() - expected.float()).abs().max()
    assert difference <= tolerance * expected.float().abs().max()
    assert actual.dtype == dtype


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_weighted_sums_agree_with_several_passes(width, dtype):
    rows, weights, order, inverse = draw_rows(width, dtype)
    cotangent = draw(TOKENS, width, seed=3)
    wide = rows.float()
    assert_near(
        triton_kernels.sum_rows(rows, weights, inverse),
        row_sums.sum_weighted_rows(wide, weights, inverse),
        dtype,
    )
    assert_near(
        triton_kernels.sum_rows(rows, None, inverse),
        row_sums.sum_rows(wide, inverse),
        dtype,
    )
    for_rows, for_weights = triton_kernels.sum_rows_gradient(
        rows, weights, inverse, cotangent
    )
    expected_rows, expected_weights = row_sums.sum_weighted_rows_gradient(
        wide, weights, order, inverse, cotangent
    )
    assert_near(for_rows, expected_rows, dtype)
    assert_near(for_weights, expected_weights, torch.float32)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gated_silu_agrees_with_automatic_differentiation(width, dtype):
    gate_up = draw(5, 2 * width, dtype=dtype)
    cotangent = draw(5, width, dtype=dtype, seed=1)
    wide = gate_up.float().requires_grad_()
    gate, up = wide.chunk(2, -1)
    expected = torch.nn.functional.silu(gate) * up
    (gradient,) = torch.autograd.grad(expected, wide, cotangent.float())
    assert_near(triton_kernels.gated_silu(gate_up), expected.detach(), dtype)
    assert_near(
        triton_kernels.gated_silu_gradient(gate_up, cotangent), gradient, dtype
    )


@pytest.mark.parametrize("first", [0, 17, 40])
def test_only_the_rows_behind_the_first_are_cleared(first):
    rows = torch.full((40, 70), torch.nan, device=DEVICE)
    rows[:first] = 1
    triton_kernels.clear_rows(
        rows, torch.tensor(first, dtype=torch.int32, device=DEVICE)
    )
    expected = np.zeros((40, 70), "float32")
    expected[:first] = 1
    np.testing.assert_array_equal(rows.cpu().numpy(), expected)


@pytest.mark.gpu
def test_the_operators_keep_their_contracts():
    # Schema, fake tensors, dispatch: what torch.compile relies upon.
    rows, weights, _, inverse = draw_rows(500, torch.bfloat16)
    cotangent, gate_up = draw(TOKENS, 500), draw(2, 3, 500)
    operators = torch.ops.keras_moe
    for operator, arguments in (
        (operators.sum_rows, (rows, weights, inverse)),
        (operators.sum_rows, (rows, None, inverse)),
        (operators.sum_rows_gradient, (rows, weights, inverse, cotangent)),
        (operators.gated_silu, (gate_up,)),
        (operators.gated_silu_gradient, (gate_up, gate_up[..., :250])),
    ):
        torch.library.opcheck(operator.default, arguments)


@pytest.mark.gpu
def test_rows_on_a_gpu_are_taken():
    assert one_pass.takes(draw(2, 3))
    assert not one_pass.takes(draw(2, 3).double())


@pytest.mark.gpu
def test_where_triton_cannot_compile_somebody_is_told(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(triton_kernels, "clear_rows", fail)
    one_pass.kernels.cache_clear()
    try:
        with pytest.warns(UserWarning, match="several passes"):
            assert not one_pass.takes(draw(2, 3))
    finally:
        one_pass.kernels.cache_clear()
