"""The two custom operators, as PyTorch's compilers see them."""

import keras
import numpy as np
import pytest

if keras.config.backend() != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)

import torch

from keras_moe import testing
from keras_moe.ops import grouped_matmul

ROWS, INNER, OUTER = 9, 3, 4
SIZES = [0, 5, 2]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def draw(*shape, seed=0, device=DEVICE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device)


def sizes_here():
    return torch.tensor(SIZES, device=DEVICE)


def assert_near(actual, expected, tolerance=1e-5):
    actual = actual.detach().cpu().float().numpy()
    scale = np.max(np.abs(expected))
    assert np.max(np.abs(actual - expected)) <= tolerance * scale


@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rows_operator_keeps_its_contract(transpose, dtype):
    kernels = draw(3, INNER, OUTER).to(dtype)
    if transpose:
        kernels = kernels.transpose(1, 2).contiguous()
    rows = draw(ROWS, INNER).to(dtype)
    # Schema, fake tensors, dispatch: what torch.compile relies upon.
    torch.library.opcheck(
        torch.ops.keras_moe.grouped_rows.default,
        (rows, kernels, sizes_here(), transpose, "auto"),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_outer_operator_keeps_its_contract(dtype):
    torch.library.opcheck(
        torch.ops.keras_moe.grouped_outer.default,
        (
            draw(ROWS, INNER).to(dtype),
            draw(ROWS, OUTER).to(dtype),
            sizes_here(),
            "auto",
        ),
    )


def test_strides_do_not_matter():
    sizes = torch.tensor(SIZES, dtype=torch.int32)
    inputs = draw(INNER, ROWS).T
    kernels = draw(OUTER, INNER, 3).permute(2, 1, 0)
    cotangent = draw(2 * ROWS, OUTER)[::2]
    for tensor in (inputs, kernels, cotangent):
        assert not tensor.is_contiguous()
        tensor.requires_grad_()
    outputs = grouped_matmul(inputs, kernels, sizes)
    gradients = torch.autograd.grad(outputs, (inputs, kernels), cotangent)
    arrays = [tensor.detach().cpu().numpy() for tensor in (inputs, kernels)]
    assert_near(outputs, testing.grouped_matmul(*arrays, SIZES))
    expected = testing.grouped_matmul_gradients(
        *arrays, SIZES, cotangent.detach().cpu().numpy()
    )
    for actual, wanted in zip(gradients, expected, strict=True):
        assert_near(actual, wanted)


def test_an_expanded_cotangent_is_accepted():
    # `outputs.sum()` hands back one number, expanded without memory.
    inputs, kernels = draw(ROWS, INNER), draw(3, INNER, OUTER)
    inputs.requires_grad_()
    outputs = grouped_matmul(inputs, kernels, torch.tensor(SIZES))
    (gradient,) = torch.autograd.grad(outputs.sum(), inputs)
    expected, _ = testing.grouped_matmul_gradients(
        inputs.detach().cpu().numpy(),
        kernels.cpu().numpy(),
        SIZES,
        np.ones((ROWS, OUTER)),
    )
    assert_near(gradient, expected)


def test_what_is_not_trained_gets_no_gradient():
    inputs, kernels = draw(ROWS, INNER), draw(3, INNER, OUTER)
    kernels.requires_grad_()
    outputs = grouped_matmul(inputs, kernels, torch.tensor(SIZES))
    outputs.sum().backward()
    assert inputs.grad is None
    expected = testing.grouped_matmul_gradients(
        inputs.cpu().numpy(),
        kernels.detach().cpu().numpy(),
        SIZES,
        np.ones((ROWS, OUTER)),
    )
    assert_near(kernels.grad, expected[1])


def check_half_precision(dtype, sizes, device, implementation="auto"):
    inputs = draw(64, 32, device=device).to(dtype)
    kernels = draw(4, 48, 32, device=device).to(dtype).transpose(1, 2)
    cotangent = draw(64, 48, seed=2, device=device).to(dtype)
    total = sum(sizes)
    inputs[total:] = cotangent[total:] = torch.nan
    inputs.requires_grad_()
    kernels.requires_grad_()
    sizes_there = torch.tensor(sizes, device=device)
    with keras.device(device.replace("cuda", "gpu")):
        outputs = grouped_matmul(inputs, kernels, sizes_there, implementation)
        gradients = torch.autograd.grad(outputs, (inputs, kernels), cotangent)
    arrays = [
        np.nan_to_num(tensor.detach().float().cpu().numpy())
        for tensor in (inputs, kernels, cotangent)
    ]
    expected = [
        testing.grouped_matmul(*arrays[:2], sizes),
        *testing.grouped_matmul_gradients(*arrays[:2], sizes, arrays[2]),
    ]
    for actual, wanted in zip((outputs, *gradients), expected, strict=True):
        assert actual.dtype == dtype
        if wanted.any():
            # One rounding to 8 bits at the end.
            assert_near(actual, wanted, tolerance=2**-8)
        else:
            assert not actual.any()


SIZES_OF_64 = [[0, 40, 20, 3], [64, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("sizes", SIZES_OF_64)
def test_the_fused_way_agrees_with_the_oracle_on_cpu(sizes):
    # PyTorch has the same function for CPU: everything but the kernel itself.
    check_half_precision(torch.bfloat16, sizes, "cpu", "grouped_mm")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sizes", SIZES_OF_64)
def test_the_fused_kernel_agrees_with_the_oracle(dtype, sizes):
    check_half_precision(dtype, sizes, "cuda")
